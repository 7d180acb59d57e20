//! Any recording → mono blocks at the file's own rate, in constant memory.
//!
//! WAV (8 to 32-bit integers, 32 and 64-bit floats, A-law, µ-law), FLAC, MP3 and OGG Vorbis, by Symphonia. The kind is found
//! by content, not by extension.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::findings::Level;
use crate::error::DataError;

/// Sample rates that are read, in Hz.
pub const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Packets in a row that cannot be decoded before a file counts as no recording.
const MOST_BAD_PACKETS: usize = 64;

/// Larger values are no amplitude, and their sums would overflow.
const LARGEST: f32 = 1e6;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name of the format.
    pub format: &'static str,
    /// Samples a second.
    pub rate: u32,
    /// Channels, which are averaged.
    pub channels: usize,
    /// Samples of each channel, where the header says so for certain.
    pub frames: Option<u64>,
}

/// A recording that is being decoded.
pub struct AudioStream {
    path: PathBuf,
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    header: Header,
    level: Level,
    decoded: u64,
    bad: usize,
    bad_in_a_row: usize,
    ended: bool,
    interleaved: Vec<f32>,
}

impl std::fmt::Debug for AudioStream {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AudioStream").field("path", &self.path).field("header", &self.header).finish_non_exhaustive()
    }
}

impl AudioStream {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::UnreadableAudio`] with the reason in plain words.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let mut head = Vec::new();
        file.by_ref().take(512).read_to_end(&mut head).map_err(io)?;
        // Opened anew instead of rewound: a pipe cannot be rewound, and its error says so.
        Self::start(path, &head, Box::new(File::open(path).map_err(io)?))
    }

    /// [`Self::open`] for bytes in memory; `path` is for messages.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, DataError> {
        let head = bytes[..bytes.len().min(512)].to_vec();
        Self::start(path, &head, Box::new(Cursor::new(bytes)))
    }

    fn start(path: &Path, head: &[u8], source: Box<dyn MediaSource>) -> Result<Self, DataError> {
        let Some(format) = format(head) else {
            return Err(unreadable(path, what_it_is(head)));
        };
        // Decoders are other people's code on other people's bytes: a panic of theirs is a bad file, not the end of a run.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| open_decoder(source)));
        let opened = opened.unwrap_or(Err(Error::DecodeError("the decoder failed on it")));
        let (reader, decoder, track, header) = opened.map_err(|error| refusal(path, format, error))?;
        let frames = header.frames.filter(|_| format == "FLAC" || says_its_length(head));
        let header = Header { format, frames, ..header };
        if !RATES.contains(&header.rate) {
            let reason = format!("damaged {format}: {} samples a second are none that a recording has", header.rate);
            return Err(unreadable(path, reason));
        }
        Ok(Self {
            path: path.to_owned(),
            reader,
            decoder,
            track,
            header,
            level: Level::default(),
            decoded: 0,
            bad: 0,
            bad_in_a_row: 0,
            ended: false,
            interleaved: Vec::new(),
        })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the samples so far were like, before channels were averaged.
    pub fn level(&self) -> &Level {
        &self.level
    }

    /// Samples of each channel so far.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Packets that could not be decoded and are missing.
    pub fn bad_packets(&self) -> usize {
        self.bad
    }

    /// Appends the next block of mono samples at the file's own rate; `false` at the end, where nothing is appended.
    ///
    /// A block is some hundreds to some ten thousands of samples. What is not finite, or too large to be an amplitude,
    /// becomes silence and is counted. A file that ends early ends here too; [`super::recording`] tells.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::UnreadableAudio`] where nothing can be decoded any more.
    pub fn read(&mut self, samples: &mut Vec<f32>) -> Result<bool, DataError> {
        while !self.ended {
            let next = std::panic::catch_unwind(AssertUnwindSafe(|| self.next_packet()));
            match next.unwrap_or_else(|_| Err(unreadable(&self.path, "the decoder failed on it"))) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
            if !self.interleaved.is_empty() {
                self.mix(samples);
                return Ok(true);
            }
        }
        self.ended = true;
        Ok(false)
    }

    /// Decodes a packet into `interleaved`, which is empty where it gave nothing; `false` at the end.
    fn next_packet(&mut self) -> Result<bool, DataError> {
        self.interleaved.clear();
        let packet = match self.reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(false),
            Err(Error::IoError(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                return Err(DataError::Io { path: self.path.clone(), source: error });
            }
            Err(Error::ResetRequired) => return self.follow_chain(),
            // The container is broken from here on: what was decoded stands, and what is missing is told.
            Err(Error::IoError(_)) => return Ok(false),
            Err(_) => {
                self.bad += 1;
                return if self.decoded > 0 { Ok(false) } else { Err(self.damaged("nothing in it can be decoded")) };
            }
        };
        if packet.track_id != self.track {
            return Ok(true);
        }
        if packet.data.is_empty() {
            // A reader at the end of a file that is too short gives empty packets for ever.
            return Ok(false);
        }
        match self.decoder.decode(&packet) {
            Ok(buffer) => {
                self.bad_in_a_row = 0;
                if buffer.spec().rate() != self.header.rate {
                    return Err(unreadable(&self.path, "its sample rate changes in the middle"));
                }
                let channels = buffer.spec().channels().count();
                if channels == 0 {
                    return Err(unreadable(&self.path, "it has no channel"));
                }
                self.header.channels = channels;
                buffer.copy_to_vec_interleaved(&mut self.interleaved);
                Ok(true)
            }
            Err(Error::DecodeError(_) | Error::IoError(_)) => {
                self.bad += 1;
                self.bad_in_a_row += 1;
                if self.bad_in_a_row == MOST_BAD_PACKETS {
                    return Err(self.damaged("most of it cannot be decoded"));
                }
                Ok(true)
            }
            Err(error) => Err(refusal(&self.path, self.header.format, error)),
        }
    }

    /// OGG files may be several streams one after another, each with its own decoder.
    fn follow_chain(&mut self) -> Result<bool, DataError> {
        let (decoder, track, header) =
            make_decoder(&*self.reader).map_err(|error| refusal(&self.path, self.header.format, error))?;
        if header.rate != self.header.rate {
            return Err(unreadable(&self.path, "its sample rate changes in the middle"));
        }
        (self.decoder, self.track) = (decoder, track);
        // The header spoke of the first stream alone.
        self.header.frames = None;
        Ok(true)
    }

    /// Averages the channels of `interleaved`.
    fn mix(&mut self, samples: &mut Vec<f32>) {
        for sample in &mut self.interleaved {
            if !sample.is_finite() || sample.abs() > LARGEST {
                *sample = 0.0;
                self.level.not_finite += 1;
            }
        }
        let channels = self.header.channels;
        self.level.add(&self.interleaved, channels);
        let share = 1.0 / channels as f32;
        samples.extend(self.interleaved.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * share));
        self.decoded += (self.interleaved.len() / channels) as u64;
    }

    fn damaged(&self, what: &str) -> DataError {
        unreadable(&self.path, format!("damaged {}: {what}", self.header.format))
    }
}

type Opened = (Box<dyn FormatReader>, Box<dyn AudioDecoder>, u32, Header);

fn open_decoder(source: Box<dyn MediaSource>) -> Result<Opened, Error> {
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    // Titles and covers are of no use here; they are read step by step, so what they claim is never allocated.
    let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
    let reader = symphonia::default::get_probe().probe(&Hint::new(), stream, format, metadata)?;
    let (decoder, track, header) = make_decoder(&*reader)?;
    Ok((reader, decoder, track, header))
}

fn make_decoder(reader: &dyn FormatReader) -> Result<(Box<dyn AudioDecoder>, u32, Header), Error> {
    let track = reader.default_track(TrackType::Audio).ok_or(Error::Unsupported("it holds no sound"))?;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or(Error::Unsupported("its coding is none that is read"))?;
    let rate = parameters.sample_rate.ok_or(Error::DecodeError("it does not say its sample rate"))?;
    let channels = parameters.channels.as_ref().map_or(1, |channels| channels.count());
    if channels == 0 {
        return Err(Error::DecodeError("it has no channel"));
    }
    let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())?;
    let header = Header { format: "", rate, channels, frames: track.num_frames };
    Ok((decoder, track.id, header))
}

fn unreadable(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::UnreadableAudio { path: path.to_owned(), reason: reason.into() }
}

fn refusal(path: &Path, format: &str, error: Error) -> DataError {
    match error {
        Error::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            DataError::Io { path: path.to_owned(), source: error }
        }
        Error::IoError(_) => unreadable(path, format!("damaged {format}: it ends within its header")),
        Error::Unsupported(what) => unreadable(path, format!("{format} of a kind that is not read: {what}")),
        other => unreadable(path, format!("damaged {format}: {other}")),
    }
}

/// The format by the first bytes.
fn format(head: &[u8]) -> Option<&'static str> {
    let is_mpeg = || matches!(head, [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 == 0x02);
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE") {
        Some("WAV")
    } else if head.starts_with(b"fLaC") {
        Some("FLAC")
    } else if head.starts_with(b"OggS") {
        Some("OGG")
    } else if head.starts_with(b"ID3") || is_mpeg() {
        Some("MP3")
    } else {
        None
    }
}

/// Whether a WAV file's header tells the length of its sound: a program that writes to a pipe cannot know it and puts the
/// largest number there.
fn says_its_length(head: &[u8]) -> bool {
    const NO_LENGTH: u32 = 0x7fff_0000;
    let length_at = |at: usize| Some(u32::from_le_bytes(head.get(at + 4..at + 8)?.try_into().ok()?));
    let mut at = 12;
    while let Some(length) = length_at(at) {
        if head[at..].starts_with(b"data") {
            return length < NO_LENGTH;
        }
        at = at.saturating_add(8 + length as usize + (length & 1) as usize).min(head.len());
    }
    // The sound begins far inside: no pipe writes that.
    head.starts_with(b"RIFF")
}

/// What a file that we cannot read is instead.
fn what_it_is(head: &[u8]) -> &'static str {
    if head.is_empty() {
        "zero bytes"
    } else if head.starts_with(b"RIFF") {
        "a RIFF file without sound"
    } else if head.starts_with(b"RF64") || head.starts_with(b"BW64") {
        "a WAV file of more than 4 GiB, which is not read; cut it into parts"
    } else if head.get(4..8) == Some(b"ftyp") {
        "an M4A or video file, which is not read; convert it to WAV or FLAC"
    } else if head.starts_with(b"FORM") || head.starts_with(b"caff") || head.starts_with(b".snd") {
        "an AIFF, CAF or AU file, which is not read; convert it to WAV or FLAC"
    } else if head.starts_with(b"\x30\x26\xb2\x75") {
        "a WMA file, which is not read; convert it to WAV or FLAC"
    } else if head.starts_with(b"#!AMR") {
        "an AMR file, which is not read; convert it to WAV or FLAC"
    } else if head.starts_with(b"\x1a\x45\xdf\xa3") {
        "a WebM or Matroska file, which is not read; convert it to WAV or FLAC"
    } else if head.starts_with(b"version https://git-lfs") {
        "a Git LFS pointer: the recording itself was not fetched"
    } else if std::str::from_utf8(head).is_ok() && !head.contains(&0) {
        "a text file, not a recording"
    } else {
        "not a sound format that we read"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(bytes: &[u8]) -> String {
        AudioStream::from_bytes(Path::new("x.wav"), bytes.to_vec()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_recording_is_named() {
        assert!(reason(b"").contains("zero bytes"));
        assert!(reason(b"hello, world").contains("a text file"));
        assert!(reason(b"\0\0\0\x20ftypM4A \0\0").contains("M4A"));
        assert!(reason(b"RIFF\x10\0\0\0AVI ").contains("without sound"));
        assert!(reason(b"RIFF\x10\0\0\0WAVE").contains("ends within its header"));
        assert!(reason(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS"));
        assert!(reason(&[0xff, 0xd8, 0xff, 0xe0, 0, 16]).contains("not a sound format"));
    }
}
