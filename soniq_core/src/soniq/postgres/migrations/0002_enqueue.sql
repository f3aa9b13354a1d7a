-- oldest: 1
-- Enqueue from SQL, for triggers and for programs in other languages, and look at jobs, for tools.

-- A UUIDv7 (RFC 9562): 48 bits of milliseconds, 12 of their fraction (section 6.2, method 3), the rest random. Within
-- a session they rise as the clock does, in microseconds.
create function {schema}.new_id_1() returns uuid
language sql volatile
begin atomic
    select (
        lpad(to_hex(us / 1000), 12, '0') || '7' || lpad(to_hex(us % 1000 * 4096 / 1000), 3, '0')
        || right(replace(gen_random_uuid()::text, '-', ''), 16)
    )::uuid
    from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as us) as clock;
end;

create function {schema}.refuse_1(what text, takes text, got jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise invalid_parameter_value
        using message = format('enqueue: %s takes %s; got %s', what, takes, coalesce(left(got::text, 100), 'null'));
end
$$;

-- The value of an option, null where it is not given; what it cannot be is an error.
create function {schema}.text_option_1(options jsonb, option text, longest integer) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    value text := options ->> option;
begin
    if value is null then
        return null;
    end if;
    if jsonb_typeof(options -> option) <> 'string' or octet_length(value) not between 1 and longest then
        perform {schema}.refuse_1(option, format('1 to %s bytes of text', longest), options -> option);
    end if;
    return value;
end
$$;

create function {schema}.number_option_1(options jsonb, option text, lowest numeric, highest numeric) returns numeric
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    value text := options ->> option;
    whole boolean := option in ('priority', 'max_attempts');
begin
    if value is null then
        return null;
    end if;
    if jsonb_typeof(options -> option) = 'number' and value::numeric between lowest and highest
        and not (whole and value::numeric <> trunc(value::numeric))
    then
        return round(value::numeric, 9); -- so that it fits a float8
    end if;
    perform {schema}.refuse_1(
        option,
        format('%s from %s to %s', case when whole then 'an integer' else 'seconds' end, lowest, highest),
        options -> option
    );
end
$$;

create function {schema}.time_option_1(options jsonb, option text) returns timestamptz
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    value text := options ->> option;
begin
    if value is null then
        return null;
    end if;
    begin
        if jsonb_typeof(options -> option) = 'string'
            and value ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$'
            and value::timestamptz between '0001-01-03 00:00+00' and '9999-12-29 00:00+00'
        then
            return value::timestamptz;
        end if;
    exception when data_exception then null; -- the 30th of February
    end;
    perform {schema}.refuse_1(option, 'a time with a zone, as 2030-01-31T08:00:00+00:00', options -> option);
end
$$;

-- One of the choices, the first where none is given.
create function {schema}.choice_option_1(options jsonb, option text, choices text[]) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if options ->> option is null then
        return choices[1];
    end if;
    if options -> option = any (select to_jsonb(choice) from unnest(choices) as choice) then
        return options ->> option;
    end if;
    perform {schema}.refuse_1(option, array_to_string(choices, ' or '), options -> option);
end
$$;

-- Enqueues a job in the caller's transaction, and returns the id of the job that then exists. The options mean what they
-- mean in Python; null is as if it were not given.
create function {schema}.enqueue(name text, arguments jsonb default '{}', options jsonb default '{}') returns uuid
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    longest_time constant numeric := 3153600000; -- a hundred years
    known constant text[] := array[
        'queue', 'priority', 'delay', 'scheduled_at', 'dedup_key', 'scope', 'on_conflict', 'headers', 'tags',
        'max_attempts', 'keep', 'keep_dead', 'timeout', 'expires'
    ];
    unknown text;
    queue text;
    priority smallint;
    delay float8;
    due timestamptz;
    at_once boolean;
    dedup_key text;
    scope text;
    on_conflict text;
    timeout float8;
    expires text;
    extra jsonb;
    job_id uuid;
begin
    if name is null or octet_length(name) not between 1 and 500 then
        perform {schema}.refuse_1('name', '1 to 500 bytes of text', to_jsonb(name));
    end if;
    if jsonb_typeof(arguments) is distinct from 'object' then
        perform {schema}.refuse_1('arguments', 'a JSON object', arguments);
    end if;
    options := coalesce(options, '{}');
    if jsonb_typeof(options) <> 'object' then
        perform {schema}.refuse_1('options', 'a JSON object', options);
    end if;
    select key into unknown from jsonb_object_keys(options) as key where key <> all (known) order by key limit 1;
    if found then
        perform {schema}.refuse_1('options', array_to_string(known, ', '), to_jsonb(unknown));
    end if;
    if options ->> 'delay' is not null and options ->> 'scheduled_at' is not null then
        raise invalid_parameter_value using message = 'enqueue: delay and scheduled_at say one thing in two ways';
    end if;
    if coalesce(jsonb_typeof(options -> 'headers') not in ('object', 'null'), false) then
        perform {schema}.refuse_1('headers', 'a JSON object', options -> 'headers');
    end if;
    if coalesce(jsonb_typeof(options -> 'tags') not in ('array', 'null'), false) or exists (
        select from jsonb_path_query(options, 'strict $.tags[*]', silent => true) as tag
        where jsonb_typeof(tag) <> 'string' or octet_length(tag #>> '{}') not between 1 and 200
    ) then
        perform {schema}.refuse_1('tags', 'a list of texts of 1 to 200 bytes', options -> 'tags');
    end if;
    queue := coalesce({schema}.text_option_1(options, 'queue', 200), 'default');
    if queue ~ '[\u0001-\u001f\u007f]' then
        perform {schema}.refuse_1('queue', 'text without control characters', options -> 'queue');
    end if;
    priority := coalesce({schema}.number_option_1(options, 'priority', -32768, 32767), 0);
    delay := {schema}.number_option_1(options, 'delay', 0, longest_time);
    due := {schema}.time_option_1(options, 'scheduled_at');
    at_once := coalesce(delay, 0) = 0 and due is null;
    dedup_key := {schema}.text_option_1(options, 'dedup_key', 2000);
    scope := {schema}.choice_option_1(options, 'scope', array['unfinished', 'queued']);
    on_conflict := {schema}.choice_option_1(options, 'on_conflict', array['keep', 'replace', 'debounce']);
    if dedup_key is null and coalesce(options ->> 'scope', options ->> 'on_conflict') is not null then
        raise invalid_parameter_value using message = 'enqueue: scope and on_conflict belong to a dedup_key';
    end if;
    timeout := {schema}.number_option_1(options, 'timeout', 0, longest_time);
    if timeout = 0 then
        perform {schema}.refuse_1('timeout', 'more than 0 seconds', options -> 'timeout');
    end if;
    expires := case when jsonb_typeof(options -> 'expires') = 'number' then 'expires' else 'expires_at' end;
    extra := jsonb_strip_nulls(jsonb_build_object(
        'delay', delay,
        'at', due,
        'timeout', timeout,
        'keep_dead', {schema}.number_option_1(options, 'keep_dead', 0, longest_time),
        'tags', nullif(options -> 'tags', '[]'),
        expires, case expires
            when 'expires' then to_jsonb({schema}.number_option_1(options, 'expires', 0, longest_time))
            else to_jsonb({schema}.time_option_1(options, 'expires'))
        end
    ));
    if delay >= (extra ->> 'expires')::float8 or due >= (extra ->> 'expires_at')::timestamptz then
        raise invalid_parameter_value using message = 'enqueue: it expires before it is due, and would never start';
    end if;

    select inserted.job_id into job_id
    from {schema}.enqueue_keyed_1(
        array[{schema}.new_id_1()],
        array[name],
        array[queue],
        array[priority],
        array[coalesce({schema}.number_option_1(options, 'max_attempts', 1, 32767), 5)::smallint],
        array['json'],
        array[coalesce({schema}.number_option_1(options, 'keep', 0, longest_time), 604800)::float8],
        array[convert_to(arguments::text, 'UTF8')],
        array[nullif(options ->> 'headers', '{}')],
        array[extra::text],
        array[dedup_key],
        array[case when dedup_key is not null then scope end],
        array[on_conflict],
        null
    ) as inserted;

    if at_once then
        perform pg_notify(btrim('{schema}', '"'), queue || e'\t' || priority)
        where exists (
            select from {schema}.worker where waiting and seen_at + make_interval(secs => lease) > clock_timestamp()
        );
    end if;
    return job_id;
end
$$;

-- Whether a claim of a job still stands; if so it does until the transaction ends, which has the time of a lease from one
-- statement to the next. For a handler's own writes: `where still_claimed(job_id, claim)`.
create function {schema}.still_claimed(job_id uuid, claim bigint) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
    worker uuid;
    lease float8;
begin
    -- The weakest lock that a rescue respects: neither progress nor a request to cancel waits for it.
    select job.worker_id into worker from {schema}.job
    where job.id = job_id and job.claim = still_claimed.claim and job.status = 'running'
    for key share;
    select alive.lease into lease from {schema}.worker as alive where alive.id = worker; -- else it is to be rescued
    if lease is null then
        return false;
    end if;
    perform set_config('idle_in_transaction_session_timeout', ceil(1000 * least(
        lease, nullif(date_part('epoch', current_setting('idle_in_transaction_session_timeout')::interval), 0)
    ))::integer::text, true);
    return true;
end
$$;

-- Bytes as JSON; null where they are none, so that one row never keeps others from being read.
create function {schema}.json_1(data bytea) returns json
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(data, 'UTF8')::json;
exception when others then
    return null;
end
$$;

-- All jobs, live and finished, in one: what SQL tools may read. Columns may be added at the end, and stay what they are.
create view {schema}.jobs as
select
    id, name, queue, status, priority::int as priority, attempt + (status = 'running')::int as attempt,
    max_attempts::int as max_attempts, created_at, scheduled_at, started_at, null::timestamptz as finished_at, worker_id,
    tags, dedup_label as dedup_key, headers, error ->> 'type' as error_type, error ->> 'message' as error_message,
    error ->> 'traceback' as error_traceback, progress,
    case when serializer = 'json' then {schema}.json_1(args) end as arguments, null::json as result,
    held_by
from {schema}.job
union all
select
    id, name, queue, status, priority::int, attempt::int, max_attempts::int, created_at, scheduled_at, started_at,
    finished_at, worker_id, tags, dedup_label, headers, error ->> 'type', error ->> 'message', error ->> 'traceback',
    progress, case when serializer = 'json' then {schema}.json_1(args) end,
    case when serializer = 'json' and result_store = 'row' then {schema}.json_1(result) end,
    null::text[]
from {schema}.history;

comment on view {schema}.jobs is 'All jobs of Soniq, to be read.';
