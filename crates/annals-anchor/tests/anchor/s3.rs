//! A real S3 server as an anchor.

use std::fs;
use std::sync::Barrier;
use std::time::Instant;

use annals_anchor::{
    Anchor, AnchorError, AnchorPlace, Exhibit, Limits, ObjectPath, Placed, S3Place, S3Shelf, Shelf,
    Swap, Variables,
};
use annals_s3_server::{Answer, BUCKET, Fate, Front, S3Server};

use crate::fits;
use crate::sample::{OPEN, Sample};
use crate::whole::{check, download_and_check, files, quick};

pub(crate) fn server() -> S3Server {
    S3Server::start("s3_server")
}

pub(crate) fn place(endpoint: &str, prefix: &str) -> S3Place {
    let place = S3Place::new(BUCKET, prefix).unwrap();
    S3Place { endpoint: Some(endpoint.to_owned()), allow_http: true, ..place }
}

pub(crate) fn anchor_at(endpoint: &str, prefix: &str) -> Anchor {
    let place = AnchorPlace::S3(place(endpoint, prefix));
    Anchor::open(&place, &S3Server::variables(), quick()).unwrap()
}

pub(crate) fn shelf_at(endpoint: &str) -> S3Shelf {
    S3Shelf::open(&place(endpoint, "log"), &S3Server::variables(), quick()).unwrap()
}

fn anchor(server: &S3Server) -> Anchor {
    anchor_at(&server.endpoint(), "log")
}

#[tokio::test]
async fn a_growing_log_stays_whole_in_a_store() {
    let server = server();
    fits::a_growing_log_stays_whole(&anchor(&server)).await;
    check(&server.bucket().join("log"), &Sample::new(700));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_a_store() {
    let server = server();
    fits::what_does_not_fit_is_refused(&anchor(&server)).await;
}

#[tokio::test]
async fn a_log_that_shows_other_lines_is_not_signed_for_in_a_store() {
    let server = server();
    fits::a_log_that_shows_other_lines_is_not_signed_for(&anchor(&server)).await;
}

#[tokio::test]
async fn lines_beyond_this_log_are_not_signed_for_in_a_store() {
    let server = server();
    let front = Front::start(server.address(), |seen| {
        let refused = Answer::Status(403, "<Error><Code>AccessDenied</Code></Error>".to_owned());
        if seen.puts("/log/checkpoint") { Fate::Instead(refused) } else { Fate::Pass }
    });
    let cut = anchor_at(&front.endpoint(), "log");
    fits::lines_beyond_this_log_are_not_signed_for(&anchor(&server), async |log| {
        let error = cut.publish(log, OPEN).await.unwrap_err();
        assert!(matches!(error, AnchorError::Refused { .. }), "{error}");
    })
    .await;
}

#[test]
fn publishers_at_once_leave_a_whole_store() {
    let server = server();
    // Connections belong to the runtime that opened them.
    fits::publishers_at_once_end_well_or_cleanly(anchor(&server), anchor(&server));
    assert!(check(&server.bucket().join("log"), &Sample::new(600)) >= 539);
}

#[tokio::test]
async fn logs_below_different_prefixes_do_not_meet() {
    let server = server();
    let prefixes = ["", "shop", "shop/production", "shop-2"];
    for (n, prefix) in prefixes.iter().enumerate() {
        let log = Sample::new(10 + n);
        anchor_at(&server.endpoint(), prefix).publish(&log, OPEN).await.unwrap();
    }
    for (n, prefix) in prefixes.iter().enumerate() {
        let anchor = anchor_at(&server.endpoint(), prefix);
        assert_eq!(download_and_check(&anchor, &Sample::new(10 + n)).await, 10 + n as u64);
    }
}

#[tokio::test]
async fn an_anchor_that_is_up_to_date_is_asked_once_and_not_written() {
    let server = server();
    anchor(&server).publish(&Sample::new(20), OPEN).await.unwrap();
    let front = Front::start(server.address(), |seen| {
        let allowed = seen.method == "GET" && seen.path.ends_with("/log/checkpoint");
        if allowed { Fate::Pass } else { Fate::Instead(Answer::Status(403, String::new())) }
    });
    let receipt =
        anchor_at(&front.endpoint(), "log").publish(&Sample::new(20), OPEN).await.unwrap();
    assert_eq!((receipt.objects_written, receipt.size, front.requests()), (0, 20, 1));
}

/// Runs `act` in `writers` threads at once, each with a connection of its own.
fn at_once<T: Send>(
    server: &S3Server,
    writers: usize,
    act: impl AsyncFn(S3Shelf, usize) -> T + Sync,
) -> Vec<T> {
    let barrier = Barrier::new(writers);
    let run = |n| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shelf = shelf_at(&server.endpoint());
        barrier.wait();
        runtime.block_on(act(shelf, n))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_writers_of_one_new_object_exactly_one_writes_it_and_the_others_see_it() {
    let server = server();
    for round in 0..20 {
        let path: ObjectPath = format!("tile/0/{round:03}").parse().unwrap();
        let placed = at_once(&server, 4, async |shelf, n| {
            shelf.place(&path, &[u8::try_from(n).unwrap(); 100]).await.unwrap()
        });
        let winners: Vec<usize> = (0..4).filter(|n| placed[*n] == Placed::Written).collect();
        let [winner] = winners[..] else { panic!("round {round}: {placed:?}") };
        let bytes = vec![u8::try_from(winner).unwrap(); 100];
        assert_eq!(fs::read(server.bucket().join("log").join(path.as_str())).unwrap(), bytes);
        let seen = placed.iter().filter(|placed| **placed == Placed::Present(bytes.clone()));
        assert_eq!(seen.count(), 3, "round {round}: {placed:?}");
    }
}

#[test]
fn of_writers_of_one_checkpoint_exactly_one_replaces_it() {
    let server = server();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 0..20 {
        let held = runtime.block_on(shelf_at(&server.endpoint()).checkpoint()).unwrap();
        assert_eq!(held.is_some(), round > 0);
        let note = |n: usize| format!("round {round}, writer {n}").into_bytes();
        let swaps = at_once(&server, 4, async |shelf, n| {
            shelf.swap(held.as_ref(), &note(n)).await.unwrap()
        });
        let winners: Vec<usize> = (0..4).filter(|n| swaps[*n] == Swap::Done).collect();
        let [winner] = winners[..] else { panic!("round {round}: {swaps:?}") };
        let now = runtime.block_on(shelf_at(&server.endpoint()).checkpoint()).unwrap().unwrap();
        assert_eq!(now.note, note(winner));
    }
}

#[tokio::test]
async fn an_altered_object_in_a_store_is_a_conflict_and_stays_as_it_is() {
    let server = server();
    let log = Sample::new(300);
    for (n, object) in log.fixed_objects().into_iter().enumerate() {
        let prefix = format!("log-{n}");
        let path = server.bucket().join(&prefix).join(object.path.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "something else").unwrap();
        let anchor = anchor_at(&server.endpoint(), &prefix);
        let error = anchor.publish(&log, OPEN).await.unwrap_err();
        let named =
            matches!(&error, AnchorError::Conflict { path, .. } if *path == object.path.as_str());
        assert!(named, "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"something else");
        assert_eq!(anchor.read_checkpoint().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_listing_of_many_pages_is_downloaded_whole() {
    let server = server();
    let shelf = shelf_at(&server.endpoint());
    let folder = server.bucket().join("log/blobs/sha256");
    fs::create_dir_all(&folder).unwrap();
    for n in 0..1_100 {
        fs::write(folder.join(format!("{n:064x}")), n.to_string()).unwrap();
    }
    let into = tempfile::tempdir().unwrap();
    let brought = annals_anchor::download_from(&shelf, into.path()).await.unwrap();
    assert_eq!((brought.objects, brought.has_checkpoint), (1_100, false));
    assert_eq!(files(&into.path().join("blobs/sha256")), files(&folder));
}

#[tokio::test]
async fn a_download_from_a_store_takes_the_published_log_and_nothing_else() {
    let server = server();
    let anchor = anchor(&server);
    let log = Sample::new(20);
    anchor.publish(&log, OPEN).await.unwrap();
    let folder = server.bucket().join("log");
    fs::create_dir(folder.join("keys")).unwrap();
    for name in ["notes.txt", "keys/log.key", "segments/.unfinished"] {
        fs::write(folder.join(name), "x").unwrap();
    }
    let into = tempfile::tempdir().unwrap();
    let brought = anchor.download(into.path()).await.unwrap();
    assert_eq!(brought.left, 3);
    assert_eq!(check(into.path(), &log), 20);
    fs::write(folder.join("segments/Evil"), "x").unwrap();
    let aside = tempfile::tempdir().unwrap();
    let error = anchor.download(aside.path()).await.unwrap_err();
    assert!(matches!(error, AnchorError::Stray { .. }), "{error}");
}

#[tokio::test]
async fn a_listing_that_leads_out_of_the_folder_is_refused() {
    let server = server();
    for key in ["log/segments/../../../etc/evil", "log/tile//evil", "log/tile/%2e%2e/evil"] {
        let listing = format!(
            "<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>\
             <Contents><Key>{key}</Key><Size>1</Size>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
        );
        let front = Front::start(server.address(), move |seen| {
            let lists = seen.path.contains("list-type=2");
            let answer = Answer::Status(200, listing.clone());
            if lists { Fate::Instead(answer) } else { Fate::Pass }
        });
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("a/b/c/copy");
        let error = anchor_at(&front.endpoint(), "log").download(&into).await.unwrap_err();
        assert!(matches!(error, AnchorError::Stray { .. }), "{key}: {error}");
        assert_eq!(files(folder.path()).len(), 0, "{key}");
    }
}

#[tokio::test]
async fn an_encrypted_store_is_trusted_by_its_certificate_only() {
    let server = S3Server::start_encrypted("s3_server");
    let place = AnchorPlace::S3(S3Place { allow_http: false, ..place(&server.endpoint(), "log") });
    let mut variables = S3Server::variables();
    let certificate = server.certificate().to_string_lossy().into_owned();
    variables.insert("AWS_CA_BUNDLE".to_owned(), certificate);
    let anchor = Anchor::open(&place, &variables, quick()).unwrap();
    let log = Sample::new(30);
    anchor.publish(&log, OPEN).await.unwrap();
    assert_eq!(download_and_check(&anchor, &log).await, 30);

    // Another server of the same name.
    let other = S3Server::start_encrypted("s3_server");
    variables
        .insert("AWS_CA_BUNDLE".to_owned(), other.certificate().to_string_lossy().into_owned());
    let anchor = Anchor::open(&place, &variables, quick()).unwrap();
    let error = anchor.publish(&log, OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    variables.insert("AWS_CA_BUNDLE".to_owned(), "/nowhere.pem".to_owned());
    let error = Anchor::open(&place, &variables, quick()).err().unwrap();
    assert!(matches!(error, AnchorError::Configuration { .. }), "{error}");
}

/// Checks that neither message nor `Debug` of `error` holds a secret.
fn holds_no_secret(error: &AnchorError, variables: &Variables) {
    let shown = format!("{error} {error:?} {}", error.next_step());
    for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"] {
        if let Some(secret) = variables.get(name).filter(|secret| !secret.is_empty()) {
            assert!(!shown.contains(secret), "{name} in {shown}");
        }
    }
}

#[tokio::test]
async fn whoever_has_no_right_is_told_so_without_the_secret() {
    let server = server();
    let place = AnchorPlace::S3(place(&server.endpoint(), "log"));
    for (name, value) in
        [("AWS_SECRET_ACCESS_KEY", "another-secret"), ("AWS_ACCESS_KEY_ID", "another-name")]
    {
        let mut variables = S3Server::variables();
        variables.insert(name.to_owned(), value.to_owned());
        variables.insert("AWS_SESSION_TOKEN".to_owned(), "a-session-token".to_owned());
        let anchor = Anchor::open(&place, &variables, quick()).unwrap();
        let error = anchor.publish(&Sample::new(5), OPEN).await.unwrap_err();
        assert!(matches!(error, AnchorError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("403"), "{error}");
        holds_no_secret(&error, &variables);
    }
}

#[tokio::test]
async fn a_server_that_repeats_the_secrets_is_not_quoted() {
    let server = server();
    let variables = {
        let mut variables = S3Server::variables();
        variables.insert("AWS_SESSION_TOKEN".to_owned(), "a-session-token".to_owned());
        variables
    };
    let secrets: Vec<String> = variables
        .iter()
        .filter(|(name, _)| *name != "AWS_REGION")
        .map(|(_, value)| value.clone())
        .collect();
    let said = secrets.join(" ");
    let body = format!(
        "<Error><Code>{said}</Code><Message>{said}</Message><Token-0>{said}</Token-0></Error>{said}"
    );
    for status in [400, 403, 500] {
        let answer = Answer::Status(status, body.clone());
        let front = Front::start(server.address(), move |_| Fate::Instead(answer.clone()));
        let place = AnchorPlace::S3(place(&front.endpoint(), "log"));
        let anchor = Anchor::open(&place, &variables, quick()).unwrap();
        let error = anchor.publish(&Sample::new(5), OPEN).await.unwrap_err();
        assert!(error.to_string().contains("[redacted]"), "{error}");
        holds_no_secret(&error, &variables);
    }
}

#[test]
fn a_place_that_is_not_usable_is_refused_before_anything_is_sent() {
    let open = |place: &S3Place, change: (&str, Option<&str>)| {
        let mut variables = S3Server::variables();
        match change {
            (name, Some(value)) => variables.insert(name.to_owned(), value.to_owned()),
            (name, None) => variables.remove(name),
        };
        let error = S3Shelf::open(place, &variables, Limits::default()).err()?;
        assert!(matches!(error, AnchorError::Configuration { .. }), "{error}");
        holds_no_secret(&error, &variables);
        Some(error.to_string())
    };
    let aws = S3Place::new(BUCKET, "log").unwrap();
    assert_eq!(open(&aws, ("UNRELATED", None)), None);
    assert!(open(&aws, ("AWS_REGION", None)).unwrap().contains("region"));
    assert!(open(&aws, ("AWS_ACCESS_KEY_ID", None)).unwrap().contains("AWS_ACCESS_KEY_ID"));
    let secret = open(&aws, ("AWS_SECRET_ACCESS_KEY", Some(""))).unwrap();
    assert!(secret.contains("AWS_SECRET_ACCESS_KEY"), "{secret}");
    let plain = open(&aws, ("AWS_ENDPOINT_URL", Some("http://example.com"))).unwrap();
    assert!(plain.contains("loopback"), "{plain}");
    let with_password = ("AWS_ENDPOINT_URL_S3", Some("https://me:hunter2@example.com"));
    assert!(!open(&aws, with_password).unwrap().contains("hunter2"));
    let line = ("AWS_SECRET_ACCESS_KEY", Some("two\nlines"));
    // It is signed with, never sent: nothing is wrong with it.
    assert_eq!(open(&aws, line), None);
    let endpoint = "http://127.0.0.1:1".to_owned();
    let plain = S3Place { endpoint: Some(endpoint), ..S3Place::new(BUCKET, "log").unwrap() };
    assert!(open(&plain, ("UNRELATED", None)).unwrap().contains("allow_http"));
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_not_created() {
    let server = server();
    let absent = |endpoint: &str| {
        let place = S3Place { bucket: "another-bucket".to_owned(), ..place(endpoint, "log") };
        Anchor::open(&AnchorPlace::S3(place), &S3Server::variables(), quick()).unwrap()
    };
    let into = tempfile::tempdir().unwrap();
    let shelf = absent(&server.endpoint());
    let error = shelf.download(into.path()).await.unwrap_err();
    assert!(matches!(error, AnchorError::NoPlace { .. }), "{error}");

    // This server says so of listings only, others of every request.
    let says = |method: &'static str| {
        Front::start(server.address(), move |seen| {
            let body = "<Error><Code>NoSuchBucket</Code></Error>".to_owned();
            let answer = Answer::Status(404, body);
            if seen.method == method { Fate::Instead(answer) } else { Fate::Pass }
        })
    };
    for method in ["GET", "PUT"] {
        let anchor = absent(&says(method).endpoint());
        let error = anchor.publish(&Sample::new(5), OPEN).await.unwrap_err();
        assert!(matches!(error, AnchorError::NoPlace { .. }), "{method}: {error}");
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_given_up_soon() {
    let mut server = server();
    let anchor = anchor(&server);
    anchor.publish(&Sample::new(5), OPEN).await.unwrap();
    server.kill();
    let began = Instant::now();
    let error = anchor.publish(&Sample::new(6), OPEN).await.unwrap_err();
    assert!(matches!(error, AnchorError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("connect"), "{error}");
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    server.restart();
    anchor.publish(&Sample::new(6), OPEN).await.unwrap();
    assert_eq!(download_and_check(&anchor, &Sample::new(6)).await, 6);
    assert_eq!(Sample::new(6).checkpoint().size, 6);
}
