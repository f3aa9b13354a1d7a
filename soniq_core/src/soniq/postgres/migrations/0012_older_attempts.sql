-- oldest: 1
-- What workers go on calling that are older than settle_and_claim_2: so they keep a job's attempts, and those that they fail
-- are written down, but for how long they took.
create or replace function {schema}.settle_and_claim_1(
    p_worker uuid,
    p_ids uuid[], p_claims bigint[], p_statuses text[], p_results bytea[], p_stores text[], p_errors text[], p_ages float8[],
    q_ids uuid[], q_claims bigint[], q_kinds smallint[], q_delays float8[], q_errors text[],
    l_queues text[], l_priorities smallint[], l_times timestamptz[], l_ids uuid[],
    p_limit integer
) returns table (
    r_id uuid, r_claim bigint, r_flags smallint, r_name text, r_queue text, r_priority smallint, r_attempt smallint,
    r_max_attempts smallint, r_args bytea, r_serializer text, r_headers text, r_created_at timestamptz,
    r_scheduled_at timestamptz, r_queued_for float8, r_timeout float8, r_unknown_for float8,
    r_expires_in float8, r_holders text[], r_marks text[], r_tags text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
return query select * from {schema}.settle_and_claim_2(
    p_worker, p_ids, p_claims, p_statuses, p_results, p_stores, p_errors, p_ages, q_ids, q_claims, q_kinds, q_delays, q_errors,
    null, l_queues, l_priorities, l_times, l_ids, p_limit
);
end
$$;
