-- Profiles: one for each user, made on sign-up.
create extension if not exists "uuid-ossp" with schema extensions;
create extension if not exists pg_trgm with schema extensions;
create type public.plan_kind as enum ('free', 'team');
create table public.profiles (
    id uuid references auth.users on delete cascade not null primary key,
    updated_at timestamp with time zone,
    username text unique,
    full_name text,
    avatar_url text,
    plan public.plan_kind not null default 'free',
    constraint username_length check (char_length(username) >= 3)
);
alter table public.profiles enable row level security;
create policy "People see their own profile." on public.profiles
    for select to authenticated using ((select auth.uid()) = id);
create policy "Users can insert their own profile." on public.profiles
    for insert with check ((select auth.uid()) = id);
create policy "Users can update own profile." on public.profiles
    for update using ((select auth.uid()) = id);
create function public.handle_new_user() returns trigger
    language plpgsql security definer set search_path = ''
    as $$
begin
    insert into public.profiles (id, full_name, avatar_url)
    values (new.id, new.raw_user_meta_data ->> 'full_name', new.raw_user_meta_data ->> 'avatar_url');
    return new;
end;
$$;
create trigger on_auth_user_created
    after insert on auth.users
    for each row execute procedure public.handle_new_user();
-- next migration
-- Storage: a bucket, and a folder in it for each user.
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
    values ('avatars', 'avatars', true, 5242880, array['image/png'])
    on conflict (id) do nothing;
create policy "Avatar images are publicly accessible." on storage.objects
    for select using (bucket_id = 'avatars');
create policy "Users upload into their own folder." on storage.objects
    for insert to authenticated
    with check (
        bucket_id = 'avatars'
        and (storage.foldername(name))[1] = (select auth.uid()::text)
        and storage.extension(name) = 'png'
    );
create function public.upload(path text) returns uuid
    language sql
    as $$ insert into storage.objects (bucket_id, name) values ('avatars', path) returning id $$;
-- next migration
-- Notes: shared with the API roles, published, searched.
create table public.notes (
    id uuid primary key default extensions.uuid_generate_v4(),
    owner_id uuid not null default auth.uid() references auth.users (id),
    body text not null,
    secret text default encode(extensions.gen_random_bytes(8), 'hex'),
    created_at timestamptz not null default timezone('utc'::text, now())
);
create index notes_body_idx on public.notes using gin (body gin_trgm_ops);
alter table public.notes enable row level security;
revoke all on table public.notes from anon;
grant select, insert on table public.notes to anon;
grant all on table public.notes to authenticated, service_role;
create policy notes_all on public.notes for all to authenticated
    using (owner_id = auth.uid() and auth.jwt() ->> 'role' = 'authenticated')
    with check (owner_id = auth.uid());
create policy notes_service on public.notes as permissive for all to service_role using (true);
alter publication supabase_realtime add table public.notes;
alter table public.notes replica identity full;
-- next migration
-- Realtime: who may hear on a topic; a webhook; a role's settings; a schema of one's own.
create policy "members hear" on realtime.messages for select to authenticated
    using (realtime.topic() = 'room-1');
create function public.notes_changed() returns trigger language plpgsql security definer as $$
begin
    perform realtime.broadcast_changes(
        'notes', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
    return null;
end $$;
create trigger notes_broadcast after insert or update on public.notes
    for each row execute function public.notes_changed();
create trigger notes_webhook after insert on public.notes
    for each row execute function supabase_functions.http_request(
        'https://example.org', 'POST', '{}', '{}', '1000');
create schema private;
grant usage on schema private to authenticated;
alter default privileges in schema private grant select on tables to authenticated;
create view private.notes_of_team with (security_barrier) as select id, body from public.notes;
notify pgrst, 'reload config';
create role reporting nologin;
grant reporting to authenticator;
grant select on all tables in schema public to reporting;
