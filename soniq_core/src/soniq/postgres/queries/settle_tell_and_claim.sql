-- Settle, let the function `$2` of the plugin `$1` say what may go now that the jobs `$3` have ended, with `$4` and `$5`, and
-- claim; `$6` to `$9`: cursors of lanes. What is said of it is in migrations/0013_told_in_sql.sql.
select * from {schema}.settle_tell_and_claim_1(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
    $27, $28
)
