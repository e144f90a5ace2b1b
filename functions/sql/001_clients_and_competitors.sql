-- Creates the tables that `enhance-client-with-ai` writes: `clients` (one row per client, inserted by your own
-- application) and `competitors` (one row per client and domain, merged on each run).
--
-- Works on Supabase (SQL editor, or `supabase db push`) and on plain PostgreSQL 15 or newer. You can run it again at
-- any time: an existing table keeps its rows, grants and policies, and only missing columns are added.

begin;

-- Supabase has these roles. On plain PostgreSQL they are created here, without a login or password. Your user needs
-- the permission to create roles.
do $$
begin
    if not exists (select from pg_roles where rolname = 'anon') then
        create role anon nologin noinherit;
    end if;
    if not exists (select from pg_roles where rolname = 'authenticated') then
        create role authenticated nologin noinherit;
    end if;
    if not exists (select from pg_roles where rolname = 'service_role') then
        create role service_role nologin noinherit bypassrls;
    end if;
end;
$$;

-- Only the service role, whose key the functions use, can access a new table. To let other roles see rows, add a
-- grant and a policy.
do $$
begin
    if to_regclass('public.clients') is null then
        create table public.clients (
            id         uuid        primary key default gen_random_uuid(),
            name       text,
            domain     text,
            created_at timestamptz not null default now()
        );
        alter table public.clients enable row level security;
        revoke all on public.clients from anon, authenticated;
    end if;
    if to_regclass('public.competitors') is null then
        create table public.competitors (
            id         uuid        primary key default gen_random_uuid(),
            client_id  uuid        not null references public.clients (id) on delete cascade,
            name       text        not null,
            domain     text        not null,
            created_at timestamptz not null default now()
        );
        alter table public.competitors enable row level security;
        revoke all on public.competitors from anon, authenticated;
    end if;
end;
$$;

alter table public.clients
    add column if not exists industry              text,
    add column if not exists description           text,
    add column if not exists business_model        text,
    add column if not exists tone                  text,
    add column if not exists products              text[]      not null default '{}',
    add column if not exists services              text[]      not null default '{}',
    add column if not exists audiences             text[]      not null default '{}',
    add column if not exists keywords              text[]      not null default '{}',
    add column if not exists unique_selling_points text[]      not null default '{}',
    add column if not exists locations             text[]      not null default '{}',
    add column if not exists updated_at            timestamptz not null default now();

alter table public.competitors
    add column if not exists reason     text,
    add column if not exists updated_at timestamptz not null default now();

-- requests with `on_conflict=client_id,domain` merge rows by this index
create unique index if not exists competitors_client_id_domain_key on public.competitors (client_id, domain);

create or replace function public.stepladder_touch_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := now();
    return new;
end;
$$;

create or replace trigger clients_touch_updated_at
    before update on public.clients
    for each row execute function public.stepladder_touch_updated_at();

create or replace trigger competitors_touch_updated_at
    before update on public.competitors
    for each row execute function public.stepladder_touch_updated_at();

grant usage on schema public to service_role;
grant select, insert, update, delete on public.clients, public.competitors to service_role;

commit;
