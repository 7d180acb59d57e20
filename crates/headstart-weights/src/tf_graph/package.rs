//! The package that is to be mapped into memory, `.pbmm`: large constants lie beside the graph as they are.
//!
//! Source: `util/memmapped_file_system.{h,cc,proto}` and `tools/graph_transforms` of TensorFlow 1.15 and 2.21. The last eight
//! bytes say where the directory begins, which lists regions by name; the graph is one of them.

use std::collections::BTreeMap;

use prost::Message;

use crate::source::Source;

/// The region of the graph.
const GRAPH: &str = "memmapped_package://.";

/// Bytes at the end that say where the directory is.
const POINTER: u64 = 8;

/// Largest directory in bytes.
const LARGEST_DIRECTORY: u64 = 64 << 20;

#[derive(Clone, PartialEq, prost::Message)]
struct Directory {
    #[prost(message, repeated, tag = "1")]
    regions: Vec<Region>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Region {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(string, tag = "2")]
    name: String,
    /// Absent in packages of before TensorFlow 2: a region ends where the next begins.
    #[prost(uint64, tag = "3")]
    length: u64,
}

/// Where the regions of a package lie: first byte and number of bytes.
pub(super) struct Package(BTreeMap<String, (u64, u64)>);

/// Where the directory would begin, if the last bytes of a file of this length are those of a package.
pub(super) fn directory(last: &[u8], length: u64) -> Option<u64> {
    let at = last.try_into().map(u64::from_le_bytes).ok()?;
    (at > 0 && at < length.checked_sub(POINTER)?).then_some(at)
}

impl Package {
    pub(super) fn open(file: &Source) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let end = file.length().checked_sub(POINTER).ok_or("it is shorter than eight bytes")?;
        let start = directory(&file.read(end, POINTER).map_err(failed)?, file.length());
        let start = start.ok_or("its last bytes point to no directory")?;
        if end - start > LARGEST_DIRECTORY {
            return Err(format!("its directory claims {} bytes, the limit is {LARGEST_DIRECTORY}", end - start));
        }
        let bytes = file.read(start, end - start).map_err(failed)?;
        let directory = Directory::decode(bytes.as_slice());
        let mut regions = directory.map_err(|error| format!("its directory cannot be read: {error}"))?.regions;
        regions.sort_by_key(|region| region.at);
        let mut next = start;
        let mut found = BTreeMap::new();
        for region in regions.into_iter().rev() {
            let room = next.checked_sub(region.at).ok_or_else(|| format!("region `{}` lies outside", region.name))?;
            let length = if region.length == 0 { room } else { region.length };
            if length > room {
                return Err(format!("region `{}` of {length} bytes ends in what follows it", region.name));
            }
            next = region.at;
            let name = region.name.clone();
            if found.insert(region.name, (region.at, length)).is_some() {
                return Err(format!("two regions are called `{name}`"));
            }
        }
        Ok(Self(found))
    }

    /// First byte and number of bytes of the graph.
    pub(super) fn graph(&self) -> Result<(u64, u64), String> {
        self.region(GRAPH)
    }

    pub(super) fn region(&self, name: &str) -> Result<(u64, u64), String> {
        self.0.get(name).copied().ok_or_else(|| format!("it has no region `{}`", name.escape_debug()))
    }
}
