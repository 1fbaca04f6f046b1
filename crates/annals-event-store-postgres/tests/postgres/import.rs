//! A log that moves into a database byte for byte.

use annals_conformance::{Home, Log, created, draft, fact, now, padded};
use annals_event_store::{EventStore, FileLog, Layout, OpenError, OpenOptions};
use annals_event_store_postgres::Import;
use annals_events::{BlobRef, Draft, LogMoved, Seq, TailRepaired};
use annals_keys::{KeyRing, SecretKey};

use crate::home::{PgHome, in_database, limits};

fn repair(fact: TailRepaired) -> Draft {
    draft(fact)
}

/// A log in a folder, as it is moved.
struct Source {
    _folder: tempfile::TempDir,
    origin: annals_events::Origin,
    lines: Vec<Vec<u8>>,
    note: String,
    blobs: Vec<(BlobRef, Vec<u8>)>,
}

/// A file log of `size` events, the last of which says that it goes on in `home`.
async fn file_log(key: &SecretKey, size: u64, to: &str) -> Source {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().join("log"));
    let origin = "shop/production".parse().unwrap();
    let ring = KeyRing::from(key.verifier());
    let options =
        OpenOptions { ring: &ring, known: &[], now: now(0), holder: "me", repair: &repair };
    let (mut log, _) = FileLog::create(layout, &origin, &created(key), key, &options).unwrap();
    let mut blobs = Vec::new();
    for content in [&b"a plan"[..], b"", &[7; 100_000]] {
        blobs.push((log.put_blob(content).await.unwrap(), content.to_vec()));
    }
    let drafts: Vec<Draft> = (2..size).map(fact).collect();
    log.append(log.head(), &drafts, now(1)).await.unwrap();
    let strange = padded("\u{0}\u{202e}\u{1f600}\\u0000".to_owned());
    log.append(log.head(), &[strange], now(2)).await.unwrap();
    let moved = draft(LogMoved { from: "file".into(), to: to.into() });
    log.append(log.head(), &[moved], now(3)).await.unwrap();
    let checkpoint = log.checkpoint();
    let note = checkpoint.sign(key);
    log.publish(&checkpoint, &note).await.unwrap();
    let mut lines = Vec::new();
    log.read(Seq(0), &mut |_, line| lines.push(line.to_vec())).await.unwrap();
    Source { _folder: folder, origin, lines, note, blobs }
}

#[test]
fn a_log_moves_here_byte_for_byte_and_goes_on_under_the_same_checkpoint() {
    in_database(async |home: &PgHome| {
        let key = SecretKey::generate("conformance").unwrap();
        let ring = KeyRing::from(key.verifier());
        let source = file_log(&key, 1_000, &home.name().await).await;
        let options =
            OpenOptions { ring: &ring, known: &[], now: now(0), holder: "me", repair: &repair };
        let spec = home.spec_of("app");
        let note = source.note.as_bytes();
        let begun = Import::begin(&spec, &source.origin, note, limits(), &options).await;
        let mut import = begun.unwrap();
        for (reference, content) in &source.blobs {
            assert_eq!(import.blob(content).await.unwrap(), *reference);
        }
        let mut seen = 0;
        for line in &source.lines {
            import.line(line, &mut |_| seen += 1).await.unwrap();
        }
        // Until it is finished nobody sees it.
        assert_eq!(home.value("SELECT count(*) FROM annals.log_head").await, "0");
        assert_eq!(home.value("SELECT count(*) FROM annals.log_event").await, "0");
        assert_eq!(home.value("SELECT count(*) FROM annals.log_blob").await, "0");
        let mut store = import.finish().await.unwrap();
        assert_eq!(seen, source.lines.len());
        let stored = home.stored(&source.origin).await;
        assert!(stored.lines == source.lines, "byte for byte");
        assert_eq!(stored.note.as_deref(), Some(note));
        for (reference, content) in &source.blobs {
            assert_eq!(&store.get_blob(reference).await.unwrap(), content);
        }
        assert_eq!(store.signed(), source.lines.len() as u64);
        let head = store.head();
        store.append(head, &[fact(1)], now(4)).await.unwrap();
        drop(store);
        let opened = home.open(&source.origin, &options, &mut |_| {}).await.unwrap();
        assert_eq!(opened.head().size, source.lines.len() as u64 + 1);
    });
}

#[test]
fn what_would_not_open_is_not_moved_and_leaves_nothing() {
    in_database(async |home: &PgHome| {
        let key = SecretKey::generate("conformance").unwrap();
        let ring = KeyRing::from(key.verifier());
        let options =
            OpenOptions { ring: &ring, known: &[], now: now(0), holder: "me", repair: &repair };
        let here = file_log(&key, 10, &home.name().await).await;
        let elsewhere = file_log(&key, 10, "postgres:1/elsewhere").await;
        let spec = home.spec_of("app");
        let try_import = async |source: &Source, note: &str, lines: &[Vec<u8>]| {
            let note = note.as_bytes();
            let mut import = Import::begin(&spec, &source.origin, note, limits(), &options).await?;
            for line in lines {
                import.line(line, &mut |_| {}).await?;
            }
            import.finish().await
        };
        let mut altered = here.lines.clone();
        altered[4] = altered[5].clone();
        let mut foreign_last = here.lines.clone();
        *foreign_last.last_mut().unwrap() = elsewhere.lines.last().unwrap().clone();
        let stranger = SecretKey::generate("conformance").unwrap();
        let foreign = file_log(&stranger, 10, &home.name().await).await;
        let cases = [
            ("a line twice", try_import(&here, &here.note, &altered).await),
            ("cut", try_import(&here, &here.note, &here.lines[..8]).await),
            ("nothing", try_import(&here, &here.note, &[]).await),
            ("a stranger's", try_import(&foreign, &foreign.note, &foreign.lines).await),
            ("moved elsewhere", try_import(&elsewhere, &elsewhere.note, &elsewhere.lines).await),
            ("another log's lines", try_import(&here, &here.note, &elsewhere.lines).await),
            ("another last line", try_import(&here, &here.note, &foreign_last).await),
        ];
        for (name, imported) in cases {
            let Err(error) = imported else { panic!("{name}: moved") };
            let class = match error {
                OpenError::Damaged { .. } => "damaged",
                OpenError::CutTail { .. } => "cut",
                OpenError::Checkpoint { .. } => "checkpoint",
                OpenError::Moved { .. } => "moved",
                OpenError::OtherHistory { .. } => "other history",
                other => panic!("{name}: {other}"),
            };
            let expected = match name {
                "a line twice" | "nothing" | "another last line" => "damaged",
                "cut" => "cut",
                "a stranger's" => "checkpoint",
                "moved elsewhere" => "moved",
                _ => "other history",
            };
            assert_eq!(class, expected, "{name}");
            assert_eq!(home.value("SELECT count(*) FROM annals.log_head").await, "0", "{name}");
        }
        drop(try_import(&here, &here.note, &here.lines).await.unwrap());
        let again = try_import(&here, &here.note, &here.lines).await;
        assert!(matches!(again, Err(OpenError::Exists { .. })));
    });
}

#[test]
fn a_log_from_a_clock_that_is_far_ahead_is_not_moved() {
    in_database(async |home: &PgHome| {
        let (log, store) = Log::create(home, "ahead").await;
        drop(store);
        let lines = log.lines().await;
        let ring = KeyRing::from(log.key().verifier());
        let options =
            OpenOptions { ring: &ring, known: &[], now: now(0), holder: "me", repair: &repair };
        let far: annals_events::Timestamp = "2999-01-01T00:00:00.000000Z".parse().unwrap();
        let mut chain = crate::home::chain_over(&lines);
        let mut line = Vec::new();
        annals_events::seal(&mut chain, log.origin(), &fact(1), far, &mut line).unwrap();
        line.pop();
        let origin = log.origin().clone();
        let note = home.stored(&origin).await.note.unwrap();
        home.run_past_tripwires("TRUNCATE annals.log_head CASCADE").await;
        let spec = home.spec_of("app");
        let mut import = Import::begin(&spec, &origin, &note, limits(), &options).await.unwrap();
        import.line(&lines[0], &mut |_| {}).await.unwrap();
        import.line(&line, &mut |_| {}).await.unwrap();
        let Err(OpenError::Io { source, .. }) = import.finish().await else { panic!("moved") };
        assert!(source.to_string().contains("ahead of the clock"), "{source}");
    });
}
