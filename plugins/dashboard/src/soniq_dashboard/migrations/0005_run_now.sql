-- Operations that make jobs due now.
alter table {schema}.operation drop constraint operation_action_check;
alter table {schema}.operation add constraint operation_action_check
    check (action in ('retry', 'run', 'cancel', 'delete'));
