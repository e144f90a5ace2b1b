-- The table that `generate-queries` writes: one row a client and search query, merged on each run. After 001.
--
-- Runs on Supabase and on plain PostgreSQL 15 or newer, and can be run again at any time. A table that is there already
-- keeps its rows, grants and policies; it only gets the columns it lacks.

begin;

do $$
begin
    if to_regclass('public.queries') is null then
        create table public.queries (
            id         uuid        primary key default gen_random_uuid(),
            client_id  uuid        not null references public.clients (id) on delete cascade,
            query      text        not null,
            created_at timestamptz not null default now()
        );
        alter table public.queries enable row level security;
        revoke all on public.queries from anon, authenticated;
    end if;
end;
$$;

alter table public.queries
    add column if not exists intent     text,
    add column if not exists updated_at timestamptz not null default now();

-- what `on_conflict=client_id,query` merges on; the function writes queries in small letters, with single spaces
create unique index if not exists queries_client_id_query_key on public.queries (client_id, query);

create or replace trigger queries_touch_updated_at
    before update on public.queries
    for each row execute function public.stepladder_touch_updated_at();

grant select, insert, update, delete on public.queries to service_role;

commit;
