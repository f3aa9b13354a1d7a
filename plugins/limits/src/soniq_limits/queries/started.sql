select goes, starts, per from {schema}.start_1($1::uuid, $2::text[], $3::bigint)
