CREATE ROLE schema_reader;
CREATE ROLE schema_writer;
CREATE ROLE schema_owner;
CREATE ROLE schema_super SUPERUSER;
