//! Rows become pieces: gathered to about 1 MiB, hashed and compressed off the thread that reads.

use std::sync::mpsc::SyncSender;

use tokio::task::JoinHandle;

use crate::contents::{LEVEL, Record, RecordKind};
use crate::error::ArchiveError;
use crate::rows::RowSum;

/// What a piece has at least, unless it is the last one: larger ones compress no better.
const PIECE_BYTES: usize = 1 << 20;

/// Where pieces go. Nobody is there any more when what takes them has failed.
#[derive(Clone)]
pub(crate) enum Destination {
    /// To whoever seals them.
    Sealed(SyncSender<Record>),
    /// Nowhere: rows are only counted and hashed.
    Nowhere,
}

type Work = (Option<zstd::bulk::Compressor<'static>>, Vec<u8>, RowSum);

/// Gathers rows of one record kind. One piece is gathered while the one before it is worked at, so
/// memory is two pieces, or two rows where rows are longer.
pub(crate) struct Pieces {
    kind: RecordKind,
    to: Destination,
    gathered: Vec<u8>,
    /// A buffer that is not in use.
    spare: Vec<u8>,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    at_work: Option<JoinHandle<Result<Work, ArchiveError>>>,
    sum: RowSum,
}

impl Pieces {
    pub(crate) fn new(to: Destination) -> Result<Self, ArchiveError> {
        let compressor = match to {
            Destination::Nowhere => None,
            Destination::Sealed(_) => Some(compressor()?),
        };
        let (gathered, spare) = (Vec::with_capacity(PIECE_BYTES + (64 << 10)), Vec::new());
        let (kind, sum) = (RecordKind::PreData, RowSum::default());
        Ok(Self { kind, to, gathered, spare, compressor, at_work: None, sum })
    }

    /// Begins with rows of another kind; see [`Self::finish`].
    pub(crate) fn begin(&mut self, kind: RecordKind) {
        self.kind = kind;
        self.sum = RowSum::default();
    }

    /// Takes a row. True if the piece is full: then [`Self::send`] is next.
    pub(crate) fn take(&mut self, row: &[u8]) -> bool {
        self.gathered.extend_from_slice(row);
        self.gathered.len() >= PIECE_BYTES
    }

    /// Sends what is gathered on its way, as soon as the piece before it is done.
    pub(crate) async fn send(&mut self) -> Result<u64, ArchiveError> {
        self.settle().await?;
        let bytes = self.gathered.len() as u64;
        let mut piece = std::mem::replace(&mut self.gathered, std::mem::take(&mut self.spare));
        let (kind, to, mut compressor) = (self.kind, self.to.clone(), self.compressor.take());
        self.at_work = Some(tokio::task::spawn_blocking(move || {
            let mut sum = RowSum::default();
            sum.add(&piece);
            if let (Destination::Sealed(to), Some(compressor)) = (&to, &mut compressor) {
                let record = Record::pack(kind, &piece, compressor)?;
                // What has become of who takes it is said by itself.
                to.send(record).map_err(|_| gone())?;
            }
            piece.clear();
            Ok((compressor, piece, sum))
        }));
        Ok(bytes)
    }

    async fn settle(&mut self) -> Result<(), ArchiveError> {
        if let Some(work) = self.at_work.take() {
            let done = work.await.map_err(|error| ArchiveError::Stopped(error.to_string()))?;
            let (compressor, buffer, sum) = done?;
            (self.compressor, self.spare) = (compressor, buffer);
            self.sum.join(sum);
        }
        Ok(())
    }

    /// Sends what is left, and says what all rows since [`Self::begin`] are.
    pub(crate) async fn finish(&mut self) -> Result<(RowSum, u64), ArchiveError> {
        let bytes = match self.gathered.is_empty() {
            true => 0,
            false => self.send().await?,
        };
        self.settle().await?;
        Ok((self.sum, bytes))
    }
}

pub(crate) fn compressor() -> Result<zstd::bulk::Compressor<'static>, ArchiveError> {
    zstd::bulk::Compressor::new(LEVEL).map_err(|error| ArchiveError::Stopped(error.to_string()))
}

/// The error of whoever finds nobody to take what it has; the reason is known elsewhere.
pub(crate) fn gone() -> ArchiveError {
    ArchiveError::Stopped("nobody takes what is read".to_owned())
}
