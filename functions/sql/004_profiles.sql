-- Creates the table that `create-client-user` writes: one row per account, with the account's id. Run 001 first.
--
-- Works on Supabase, where accounts are rows of `auth.users`, and on plain PostgreSQL 15 or newer, which has no accounts.
-- You can run it again at any time: an existing table keeps its rows, grants and policies, and only missing columns are
-- added.

begin;

do $$
begin
    if to_regclass('public.profiles') is null then
        create table public.profiles (
            id         uuid        primary key,
            created_at timestamptz not null default now()
        );
        -- deleting an account deletes its profile
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
