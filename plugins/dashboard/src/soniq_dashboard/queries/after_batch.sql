-- Keep what a batch of an operation did, and when the next may begin; where $9 is not open, it is the last.
update {schema}.operation set
    seen = seen + $2,
    changed = changed + $3,
    asked = asked + $4,
    kept = kept + $5,
    why = $6::text::jsonb,
    examples = $7::text::jsonb,
    place = $8,
    state = case when state = 'open' then $9 else state end,
    ended_at = case when state = 'open' and $9 <> 'open' then clock_timestamp() else ended_at end,
    failures = $10,
    error = $11,
    updated_at = clock_timestamp(),
    due_at = clock_timestamp() + make_interval(secs => $12)
where id = $1
