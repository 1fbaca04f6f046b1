//! The first whole path: create, plan, migrate, roll back, verify, replay.

use annals_testkit::{Server, ServerOptions, Workspace};

#[test]
fn the_example_goes_up_down_and_up_again_and_verifies() {
    let server = Server::start_with(ServerOptions { supabase: true, ..Default::default() });
    let workspace = Workspace::new(&server);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for part in ["migrations", "rollbacks"] {
        for entry in std::fs::read_dir(format!("{root}/{part}")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            workspace.write(&format!("{part}/{name}"), std::fs::read(&path).unwrap());
        }
    }
    let config = std::fs::read_to_string(workspace.path("annals.toml")).unwrap();
    workspace.write("annals.toml", config + "platform = \"supabase\"\n");

    let plan = workspace.annals("plan --json").run().expect(0).json();
    assert_eq!(plan["steps"].as_array().unwrap().len(), 4);
    let before =
        server.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace");
    workspace
        .annals("migrate")
        .run()
        .expect(0)
        .says(&["applied 001_create_agent_system_tables", "4 steps of 4"]);
    workspace.annals("verify").run().expect(0).says(&["passed"]);
    workspace.annals("migrate").run().expect(0).says(&["nothing to do"]);
    let dry = workspace.annals("rollback --to 0 --dry-run").run().expect(0);
    dry.says(&["DROP TABLE agent_metrics", "Nothing was changed"]);
    workspace
        .annals("rollback --to 0")
        .run()
        .expect(0)
        .says(&["rolled back 001_create_agent_system_tables"]);
    let after =
        server.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace");
    assert_eq!(before, after);
    workspace.annals("migrate --to 003").run().expect(0);
    workspace.annals("verify").run().expect(0).says(&["3 migrations applied"]);
    let status = workspace.annals("status --json").run().expect(0).json();
    let states: Vec<_> = status["migrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["applied", "applied", "applied", "pending"]);
    workspace.annals("log verify").run().expect(0).says(&["is intact"]);
}
