//! What is refused for another reason than damage, and in which words.

use std::io::{self, Read, Write};

use annals_backup::{BackupError, KeyEncryptionKey, SealParams, examine, open, seal};

use crate::common::*;

fn params(metadata: &[u8]) -> SealParams<'_> {
    SealParams { backup_id: id(1), public_metadata: metadata }
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut altered = sealed(b"rows");
    altered[at..at + bytes.len()].copy_from_slice(bytes);
    altered
}

#[test]
fn another_version_is_refused_by_its_number() {
    for version in [0_u16, 2, 3, 0x0100, u16::MAX] {
        let newer = patched(8, &version.to_be_bytes());
        let error = refused(&newer);
        assert_eq!(
            error.to_string(),
            format!("sealed backup has format version {version}; this reader knows version 1")
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("release that sealed it")));
        assert!(matches!(
            examine(newer.as_slice()),
            Err(BackupError::UnsupportedVersion { found }) if found == version
        ));
    }
}

#[test]
fn a_newer_version_is_refused_before_anything_of_its_layout_is_read() {
    let newer = [b"ANNALSBK".as_slice(), &[0, 2]].concat();
    assert!(matches!(refused(&newer), BackupError::UnsupportedVersion { found: 2 }));
}

#[test]
fn other_files_are_not_taken_for_backups() {
    for other in [b"".as_slice(), b"ANNALS", b"PGDMP\x01\x0e\x00", b"annalsbk\x00\x01", &[0; 500]] {
        assert!(matches!(refused(other), BackupError::NotABackup));
    }
}

#[test]
fn a_wrong_key_is_told_which_one_fits() {
    let error = read_by(&sealed(b"rows"), &[&key(2)], 9).1.expect_err("the wrong key");
    assert_eq!(
        error.to_string(),
        format!("no key fits the sealed backup: it is sealed for {}", key(1).id())
    );
    let none = open(sealed(b"rows").as_slice(), std::iter::empty()).err();
    assert!(matches!(none, Some(BackupError::NoKeyFits { .. })));
}

#[test]
fn a_key_that_only_borrows_the_id_does_not_unwrap() {
    let claimed = patched(30 + METADATA.len() + 2 + 4, key(2).id().as_bytes());
    let error = read_by(&claimed, &[&key(2)], 9).1.expect_err("the wrong key");
    assert!(matches!(error, BackupError::WrappedKeyRefused { key_id } if key_id == key(2).id()));
}

#[test]
fn lengths_beyond_the_limits_are_refused_before_they_are_believed() {
    let stanzas = 30 + METADATA.len();
    for (at, bytes) in [
        (26, [0xff, 0xff, 0xff, 0xff].as_slice()),
        (26, &[0, 1, 0, 1]),
        (stanzas, &[0, 0]),
        (stanzas, &[0, 33]),
        (stanzas + 4, &[0x10, 0x01]),
        (stanzas + 4, &[0, 119]),
    ] {
        let error = refused(&patched(at, bytes));
        assert!(matches!(error, BackupError::MalformedHeader { .. }), "{at}: {error}");
    }
}

#[test]
fn a_stanza_body_of_another_length_is_malformed() {
    let mut longer = sealed(b"rows");
    let stanza = 32 + METADATA.len();
    longer[stanza + 3] += 1;
    longer.insert(stanza + 4 + 120, 0);
    assert!(matches!(refused(&longer), BackupError::MalformedHeader { .. }));
}

#[test]
fn sealing_needs_recipients_within_the_limits() {
    let none = seal(io::sink(), &params(b""), std::iter::empty()).err();
    assert!(matches!(none, Some(BackupError::NoRecipients)));

    let many: Vec<_> = (0..33).map(key).collect();
    let refused = seal(io::sink(), &params(b""), &many).err();
    assert!(matches!(refused, Some(BackupError::TooManyRecipients { found: 33 })));
    assert!(seal(io::sink(), &params(b""), &many[..32]).is_ok());

    let twice = seal(io::sink(), &params(b""), [&key(1), &key(2), &key(1)]).err();
    assert!(
        matches!(twice, Some(BackupError::DuplicateRecipient { key_id }) if key_id == key(1).id())
    );

    let long = vec![0; annals_backup::MAX_METADATA_BYTES + 1];
    let refused = seal(io::sink(), &params(&long), [&key(1)]).err();
    assert!(matches!(refused, Some(BackupError::MetadataTooLong { found: 65_537 })));
}

#[test]
fn a_reader_that_stopped_early_has_no_receipt() {
    let bytes = sealed(&pattern(CHUNK + 5));
    let mut reader = open(bytes.as_slice(), [&key(1)]).expect("opens");
    let mut some = vec![0; CHUNK + 4];
    reader.read_exact(&mut some).expect("the beginning is verified");
    assert!(matches!(reader.finish(), Err(BackupError::Unfinished)));
    let reader = open(bytes.as_slice(), [&key(1)]).expect("opens");
    assert!(matches!(reader.finish(), Err(BackupError::Unfinished)));
}

#[test]
fn a_writer_dropped_before_its_end_leaves_no_backup() {
    let mut left = Vec::new();
    let mut writer = seal(&mut left, &params(METADATA), [&key(1)]).expect("sealing starts");
    writer.write_all(&pattern(CHUNK + 5)).expect("sealing goes on");
    drop(writer);
    assert!(matches!(refused(&left), BackupError::TrailerMissing));
}

/// A sink that fails once after `left` bytes, and a source that does.
struct Failing {
    left: usize,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.left = usize::MAX;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_whose_sink_failed_once_stays_refused() {
    let sink = Failing { left: BEFORE_CHUNKS + 100 };
    let mut writer = seal(sink, &params(METADATA), [&key(1)]).expect("sealing starts");
    let error = writer.write_all(&pattern(CHUNK)).expect_err("the sink fails");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let error = writer.write_all(b"more").expect_err("the writer stays refused");
    assert!(matches!(refusal(error), BackupError::AlreadyRefused));
    assert!(writer.flush().is_err());
    assert!(matches!(writer.finish(), Err(BackupError::AlreadyRefused)));
}

#[test]
fn a_failing_source_is_an_error_and_never_an_end() {
    struct Broken<'b>(&'b [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                read => Ok(read),
            }
        }
    }
    let bytes = sealed(&pattern(CHUNK + 5));
    for length in [0, 20, BEFORE_CHUNKS, bytes.len() - 1, bytes.len()] {
        let end = open(Broken(&bytes[..length]), [&key(1)])
            .map_err(io::Error::from)
            .and_then(|mut reader| io::copy(&mut reader, &mut io::sink()));
        assert_eq!(end.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset), "{length}");
    }
}

#[test]
fn messages_are_fragments_and_name_their_subject() {
    let errors = [
        KeyEncryptionKey::from_bytes(&[0; 5]).err().expect("five bytes"),
        KeyEncryptionKey::from_text("secret words").err().expect("no key"),
        refused(b"x"),
        refused(&sealed(b"rows")[..40]),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.starts_with(char::is_lowercase) && !text.ends_with('.'), "{text}");
        assert!(!text.contains("secret words"));
    }
}
