select id, name, headers, args, serializer from {schema}.jobs_1($1)
