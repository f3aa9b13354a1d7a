-- The function is in migrations/0016_one_by_one.sql, what is said of it in 0001_first.sql.
select * from {schema}.settle_and_claim_2(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19
)
