//! Keys: made, listed, rotated in every log, retired.

use std::fs;

use annals_testkit::{Server, Workspace};

fn keys(workspace: &Workspace) -> Vec<serde_json::Value> {
    workspace.annals("keys list --json").run().expect(0).json()["keys"].as_array().unwrap().clone()
}

#[test]
fn a_rotated_key_counts_up_to_its_size_and_the_next_one_signs() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(3);
    workspace.annals("migrate --to 2").run().expect(0);
    let (pinned, old_note) =
        (fs::read(workspace.path("keys/log.pub")).unwrap(), workspace.path("old-note"));
    fs::copy(workspace.path("event-store/db/checkpoint"), &old_note).unwrap();
    workspace.annals("keys rotate").run().expect(0).says(&["a new key signs", "counts up to"]);
    let both = fs::read_to_string(workspace.path("event-store/db/checkpoint")).unwrap();
    assert_eq!(both.matches("\n— ").count(), 2, "{both}");
    // Who has pinned the old key alone can still verify the checkpoint of the change.
    fs::write(workspace.path("pinned.pub"), &pinned).unwrap();
    workspace.annals("log verify --log event-store/db --key pinned.pub").run().expect(0);
    let listed = keys(&workspace);
    assert_eq!((listed.len(), &listed[0]["standing"]), (2, &"retired".into()));
    assert_eq!(
        (&listed[1]["standing"], &listed[1]["secret_is_here"]),
        (&"in_force".into(), &true.into())
    );
    workspace.annals("migrate").run().expect(0);
    workspace.annals("log verify").run().expect(0).says(&["is intact"]);
    workspace.annals("log verify --known old-note --require-known 1").run().expect(0);
    // What the new key alone has signed says nothing to who knows only the old one.
    workspace.annals("log verify --log event-store/db --key pinned.pub").run().expect(27);
}

#[test]
fn a_stolen_retired_key_signs_nothing_that_counts() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    let stolen = fs::read(workspace.path("keys/log.key")).unwrap();
    workspace.annals("keys rotate").run().expect(0);
    let current = fs::read(workspace.path("keys/log.key")).unwrap();
    fs::write(workspace.path("keys/log.key"), &stolen).unwrap();
    // annals itself refuses to sign with it.
    workspace.annals("migrate").run().expect(3).says(&["none of those in force", "next:"]);
    fs::write(workspace.path("keys/log.key"), &current).unwrap();
    workspace.annals("migrate").run().expect(0);
}

#[test]
fn a_rotation_that_was_cut_short_is_finished_by_the_next() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.tables(2);
    workspace.annals("migrate --to 1").run().expect(0);
    let (old_key, old_ring) = (
        fs::read(workspace.path("keys/log.key")).unwrap(),
        fs::read(workspace.path("keys/log.pub")).unwrap(),
    );
    workspace.annals("keys rotate").run().expect(0);
    let new_key = fs::read(workspace.path("keys/log.key")).unwrap();
    // As if the process had ended after the log, before the ring and the key were replaced.
    fs::write(workspace.path("keys/log.key.next"), &new_key).unwrap();
    set_secret(&workspace, "keys/log.key.next");
    fs::write(workspace.path("keys/log.key"), &old_key).unwrap();
    fs::write(workspace.path("keys/log.pub"), &old_ring).unwrap();
    workspace.annals("migrate").run().expect(3).says(&["cut short", "annals keys rotate"]);
    workspace.annals("keys rotate").run().expect(0);
    assert_eq!(fs::read(workspace.path("keys/log.key")).unwrap(), new_key);
    workspace.annals("migrate").run().expect(0);
    workspace.annals("log verify").run().expect(0);
    let events = workspace.annals("log show --kind key_retired --json").run();
    assert_eq!(events.json()["events"].as_array().unwrap().len(), 1);

    // As if it had ended after the ring was replaced, before the key was.
    fs::rename(workspace.path("keys/log.key"), workspace.path("keys/log.key.next")).unwrap();
    fs::write(workspace.path("keys/log.key"), &old_key).unwrap();
    set_secret(&workspace, "keys/log.key");
    workspace.annals("migrate").run().expect(3);
    workspace.annals("keys rotate").run().expect(0);
    assert_eq!(fs::read(workspace.path("keys/log.key")).unwrap(), new_key);
}

fn set_secret(workspace: &Workspace, path: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(workspace.path(path), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn approver_keys_are_made_once_listed_and_retired() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    workspace.annals("keys generate log").run().expect(0).says(&["commit", "keep it"]);
    workspace.annals("keys generate log").run().expect(3).says(&["keys rotate"]);
    workspace.annals("keys generate approver lucja").run().expect(0).says(&["commit", "keep it"]);
    workspace.annals("keys generate approver lucja").run().expect(3).says(&["already"]);
    workspace.annals("keys generate approver ../etc").run().expect(3);
    workspace.annals("keys generate approver jon --secret jon.key").run().expect(0);
    assert!(workspace.path("jon.key").exists());
    assert!(!workspace.path("keys/approvers/jon.key").exists());
    workspace.annals("keys retire lucja").run().expect(0);
    workspace.annals("keys retire lucja").run().expect(3).says(&["retired already"]);
    workspace.annals("keys retire nobody").run().expect(3).says(&["keys list"]);
    let id = keys(&workspace)[0]["id"].as_str().unwrap().to_owned();
    workspace.annals(&format!("keys retire {id}")).run().expect(3).says(&["keys rotate"]);
    let standings: Vec<String> = keys(&workspace)
        .iter()
        .map(|key| {
            format!("{} {}", key["name"].as_str().unwrap(), key["standing"].as_str().unwrap())
        })
        .collect();
    assert!(standings.contains(&"jon in_force".into()), "{standings:?}");
    assert!(standings.contains(&"lucja retired".into()), "{standings:?}");
}
