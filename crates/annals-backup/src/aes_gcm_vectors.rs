//! Wycheproof's vectors of AES-256-GCM, run on the cipher that seals chunks, as it is called there.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use crate::cobblestone::TAG_BYTES;
use crate::nonces::NONCE_BYTES;

#[test]
fn the_published_vectors_of_the_cipher_seal_and_open_as_published() {
    let set = TestSet::load(TestName::AesGcm).expect("the published vectors are readable");
    let fits = |size: usize, bytes: usize| size == 8 * bytes;
    let groups = set.test_groups.into_iter().filter(|group| {
        fits(group.key_size, 32)
            && fits(group.nonce_size, NONCE_BYTES)
            && fits(group.tag_size, TAG_BYTES)
    });
    let (mut valid, mut invalid) = (0, 0);
    for test in groups.flat_map(|group| group.tests) {
        let what = format!("tcId {}: {}", test.tc_id, test.comment);
        let cipher = Aes256Gcm::new_from_slice(&test.key).expect("32 bytes");
        let nonce: [u8; NONCE_BYTES] = test.nonce[..].try_into().expect("12 bytes");
        let tag = Tag::try_from(&test.tag[..]).expect("16 bytes");
        let mut opened = test.ct.to_vec();
        let end = cipher.decrypt_inout_detached(
            &Nonce::from(nonce),
            &test.aad,
            opened.as_mut_slice().into(),
            &tag,
        );
        if test.result == TestResult::Invalid {
            invalid += 1;
            assert!(end.is_err(), "{what}");
            // Nothing of a chunk may be there when its tag is wrong.
            assert_eq!(opened, test.ct[..], "{what}");
            continue;
        }
        valid += 1;
        assert!(end.is_ok() && opened == test.pt[..], "{what}");
        let mut sealed = test.pt.to_vec();
        let made = cipher
            .encrypt_inout_detached(&Nonce::from(nonce), &test.aad, sealed.as_mut_slice().into())
            .expect("short");
        assert!(sealed == test.ct[..] && made[..] == test.tag[..], "{what}");
    }
    assert_eq!((valid, invalid), (39, 27));
}
