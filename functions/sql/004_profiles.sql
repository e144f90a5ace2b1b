-- The table that `create-client-user` writes: one row an account, under the account's id. After 001.
--
-- Runs on Supabase, where accounts are rows of `auth.users`, and on plain PostgreSQL 15 or newer, where there are none. It
-- can be run again at any time. A table that is there already keeps its rows, grants and policies; it only gets the
-- columns it lacks.

begin;

do $$
begin
    if to_regclass('public.profiles') is null then
        create table public.profiles (
            id         uuid        primary key,
            created_at timestamptz not null default now()
        );
        -- a deleted account takes its profile with it
        if to_regclass('auth.users') is not null then
            alter table public.profiles
                add constraint profiles_id_fkey foreign key (id) references auth.users (id) on delete cascade;
        end if;
        alter table public.profiles enable row level security;
        revoke all on public.profiles from anon, authenticated;
    end if;
end;
$$;

alter table public.profiles
    add column if not exists client_id  uuid references public.clients (id) on delete cascade,
    add column if not exists email      text,
    add column if not exists full_name  text,
    add column if not exists updated_at timestamptz not null default now();

create or replace trigger profiles_touch_updated_at
    before update on public.profiles
    for each row execute function public.stepladder_touch_updated_at();

grant select, insert, update, delete on public.profiles to service_role;

commit;
