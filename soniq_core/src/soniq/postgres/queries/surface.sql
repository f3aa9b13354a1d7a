-- Move what fell behind the cursors of some lanes in front of them.
select queue, priority, moved from {schema}.surface_1($1, $2, $3)
