-- Creates the table that `content-brief-generator` writes: one row per brief, with the id from the event. Run 001 first.
--
-- Works on Supabase and on plain PostgreSQL 15 or newer. You can run it again at any time: an existing table keeps its
-- rows, grants and policies, and only missing columns are added.

begin;

do $$
begin
    if to_regclass('public.content_briefs') is null then
        create table public.content_briefs (
            id         uuid        primary key default gen_random_uuid(),
            client_id  uuid        not null references public.clients (id) on delete cascade,
            topic      text        not null,
            created_at timestamptz not null default now()
        );
        alter table public.content_briefs enable row level security;
        revoke all on public.content_briefs from anon, authenticated;
    end if;
end;
$$;

-- `research` is a list of objects {"question", "answer"}; `status` is writing, approval, ready, rejected or failed
alter table public.content_briefs
    add column if not exists audience   text,
    add column if not exists status     text        not null default 'writing',
    add column if not exists title      text,
    add column if not exists headings   text[]      not null default '{}',
    add column if not exists research   jsonb       not null default '[]',
    add column if not exists draft      text,
    add column if not exists updated_at timestamptz not null default now();

create or replace trigger content_briefs_touch_updated_at
    before update on public.content_briefs
    for each row execute function public.stepladder_touch_updated_at();

grant select, insert, update, delete on public.content_briefs to service_role;

commit;
