// SPDX-License-Identifier: GPL-2.0

//! `ubd convert`: a disk in a file of another format.

use crate::{
    failure::Result,
    file::{Access, File, STEP},
    image::{Cow, Image, Layer},
    json,
    output::Output,
    progress::Progress,
    qcow2,
    unfinished::Unfinished,
};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write a disk to a new file, as a plain image or as qcow2
///
/// SOURCE is a plain image ('raw'), a COW file ('cow'), which stands for its disk, or an image of
/// QEMU's format 'qcow2', not encrypted, with the backing files that its header names. Which one it is is seen from
/// how it begins, unless --from says it: to be said of a plain image that others could write to, for
/// they could have given it a header that names any file.
///
/// NEW is raw or qcow2, by --to or else by its name: qcow2 if that ends in '.qcow2'. It has the whole
/// disk, and no backing file; blocks of zeros take no space. Sizes in qcow2 are multiples of 512
/// bytes, so that there may be some zeros more at the end.
///
/// For a COW file of what a qcow2 image is: convert it to raw, and 'ubd create --diff'.
///
/// Until it is complete and on stable storage, the file has the name NEW.partial; a command that is
/// killed leaves it under that one, and the next one refuses to overwrite it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd convert work.cow work.qcow2
  ubd convert golden.qcow2 golden.img
  ubd convert --from raw --to qcow2 /dev/ubda backup")]
pub(crate) struct Convert {
    /// What SOURCE is
    #[arg(long, value_name = "FORMAT")]
    from: Option<From>,
    /// What NEW is to be
    #[arg(long, value_name = "FORMAT")]
    to: Option<To>,
    /// Say nothing of how far it is
    #[arg(short, long)]
    quiet: bool,
    /// The disk
    source: PathBuf,
    /// The new file
    new: PathBuf,
}

/// What can be read.
#[derive(Clone, Copy, ValueEnum)]
enum From {
    Raw,
    Cow,
    Qcow2,
}

/// What can be written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    Raw,
    Qcow2,
}

/// A disk that is read.
enum Source {
    Image(Image),
    Qcow2(qcow2::Image),
}

impl Source {
    fn open(path: &Path, format: Option<From>) -> Result<Self> {
        let file = File::open(path, Access::Read)?;
        let layer = match format {
            Some(From::Qcow2) => return qcow2::Image::open(file).map(Source::Qcow2),
            Some(From::Raw) => Layer::Raw(file),
            Some(From::Cow) => Layer::Cow(Cow::of(file)?),
            None if qcow2::Image::is_one(&file)? => {
                return qcow2::Image::open(file).map(Source::Qcow2)
            }
            None => Layer::of(file)?,
        };
        let image = Image::of(layer, 0, &[])?;
        image.tell_missing()?;
        Ok(Source::Image(image))
    }

    /// Bytes in the disk.
    fn size(&self) -> Result<u64> {
        match self {
            Source::Image(image) => match image.layers.first() {
                Some(layer) => layer.disk_size(),
                None => Ok(0),
            },
            Source::Qcow2(image) => Ok(image.size()),
        }
    }

    fn read(&self, buf: &mut [u8], pos: u64) -> Result {
        match self {
            Source::Image(image) => image.read(buf, pos),
            Source::Qcow2(image) => image.read(buf, pos),
        }
    }

    fn format(&self) -> From {
        match self {
            Source::Image(image) => match image.layers.first() {
                Some(Layer::Cow(_)) => From::Cow,
                _ => From::Raw,
            },
            Source::Qcow2(_) => From::Qcow2,
        }
    }
}

impl Convert {
    /// Writes it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let source = Source::open(&self.source, self.from)?;
        let size = source.size()?;
        let to = self.to.unwrap_or(match self.new.extension() {
            Some(extension) if extension == "qcow2" => To::Qcow2,
            _ => To::Raw,
        });
        let new = Unfinished::create(&self.new)?;
        match to {
            To::Raw => {
                new.file.set_len(size)?;
                self.copy(&source, size, |buf, pos| new.file.write(buf, pos))?;
            }
            To::Qcow2 => {
                let writer = qcow2::Writer::create(&new.file, size)?;
                self.copy(&source, size, |buf, pos| writer.write(buf, pos))?;
                writer.finish()?;
            }
        }
        new.finish()?;
        if out.json {
            out.write_json(&json!({
                "file": json::path(&self.source),
                "format": name(source.format()),
                "written": json::path(&self.new),
                "written_format": name(to),
                "size": size,
            }))?;
        }
        Ok(())
    }

    /// Writes what is not zeros, in blocks of a cluster of qcow2.
    fn copy(
        &self,
        source: &Source,
        size: u64,
        mut write: impl FnMut(&[u8], u64) -> Result,
    ) -> Result {
        let mut progress = Progress::new("convert", size, self.quiet);
        let mut buf = vec![0; STEP];
        let mut at = 0;
        while at < size {
            progress.at(at);
            let n = (size - at).min(STEP as u64) as usize;
            source.read(&mut buf[..n], at)?;
            for (i, block) in buf[..n].chunks(qcow2::CLUSTER as usize).enumerate() {
                if block.iter().any(|c| *c != 0) {
                    write(block, at + i as u64 * qcow2::CLUSTER)?;
                }
            }
            at += n as u64;
        }
        progress.end();
        Ok(())
    }
}

/// A format as the command line has it.
fn name(format: impl ValueEnum) -> String {
    let value = format.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().into())
}
