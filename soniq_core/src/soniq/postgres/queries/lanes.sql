select queue, priority from {schema}.lane where $1::text[] is null or queue = any($1)
