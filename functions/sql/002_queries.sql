-- Creates the table that `generate-queries` writes: one row per client and search query, merged on each run. Run 001
-- first.
--
-- Works on Supabase and on plain PostgreSQL 15 or newer. You can run it again at any time: an existing table keeps its
-- rows, grants and policies, and only missing columns are added.

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

-- requests with `on_conflict=client_id,query` merge rows by this index; the function writes queries in lower case, with
-- single spaces
create unique index if not exists queries_client_id_query_key on public.queries (client_id, query);

create or replace trigger queries_touch_updated_at
    before update on public.queries
    for each row execute function public.stepladder_touch_updated_at();

grant select, insert, update, delete on public.queries to service_role;

commit;
