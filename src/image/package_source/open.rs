//! What a name is, as a source of packages.

use std::path::Path;
use std::sync::Arc;

use super::name::{Shelf, Title};
use super::part::{Part, has_extension};
use super::{Group, PackageSource, msu};
use crate::base::ReadAt;
use crate::error::{Context, Error, Result};
use crate::format::cab::{self, Cabinet};
use crate::image::Media;
use crate::image::host::InputFile;
use crate::image::media;

/// What an `.msu` of the new kind begins with.
const WIM: &[u8] = b"MSWIM\0\0\0";

impl PackageSource {
    /// Opens what a user names: see the [module above](super). `media` is what short names are looked up on.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) if there is nothing of that name, or nothing that packages come in;
    /// [`Unsupported`](crate::error::Kind::Unsupported) for an `.msu` that is a WIM; those of the cabinet or the medium.
    pub fn open(named: &str, media: Option<&Media>) -> Result<Self> {
        let path = Path::new(named);
        let is_word = !named.contains(['/', '\\']);
        let is_plain = is_word && !has_extension(named, "cab") && !has_extension(named, "msu");
        if !is_plain && path.exists() {
            return Self::of_path(path);
        }
        if let Some(media) = media {
            let shelf = Shelf::of_medium(media)?;
            if let Some(title) = is_word.then(|| shelf.find(named)).flatten() {
                let group = group(media, title)?;
                return Ok(Self { name: named.to_owned(), groups: vec![group], notes: Vec::new() });
            }
            if let Some(file) = media.file(named)? {
                return of_file(named, media.name_of(named), file);
            }
            if !path.exists() {
                return Err(shelf.no_such(named).context(media.path.display()));
            }
        }
        if path.exists() {
            return Self::of_path(path);
        }
        let error = Error::invalid("no such package").found(format_args!("'{named}'"));
        Err(match is_plain {
            true => error.hint(
                "a short name is one of a package on the medium of Windows Server 2016: build with --media, or name the path of a .cab",
            ),
            false => error.hint("there is no file or folder of that name"),
        })
    }

    /// Opens a file or folder of the host.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn of_path(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        if !path.is_dir() {
            let file: Arc<dyn ReadAt> = Arc::new(InputFile::open(path)?);
            return of_file(&name, name.clone(), file);
        }
        let folder = Media::open(path)?;
        if folder.file("update.mum")?.is_some() {
            let (part, notes) = Part::folder(path)?;
            let group = Group { base: Some(part), languages: Vec::new() };
            return Ok(Self { name, groups: vec![group], notes });
        }
        let shelf = Shelf::of_folder(&folder)?;
        if shelf.titles.is_empty() {
            let error = Error::invalid("no packages in the folder")
                .allowed("an update.mum of an unpacked package, or cabinets (.cab)");
            let error = match folder.packages()?.is_empty() {
                true => error.hint(
                    "name a .cab or an .msu, or the folder that update.mum is in: what is in folders below is taken for languages only",
                ),
                false => error.hint(format_args!(
                    "it is an installation medium: say --media {name}, and name its packages; `nanovhd packages {name}` lists them"
                )),
            };
            return Err(error.context(name));
        }
        let groups = shelf.titles.iter().map(|title| group(&folder, title)).collect::<Result<_>>()?;
        Ok(Self { name, groups, notes: shelf.left_out })
    }

    /// A package of a medium, with all of its languages.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn of_title(media: &Media, title: &Title) -> Result<Self> {
        Ok(Self { name: title.stem.clone(), groups: vec![group(media, title)?], notes: Vec::new() })
    }
}

fn of_file(name: &str, origin: String, file: Arc<dyn ReadAt>) -> Result<PackageSource> {
    let own = |error: Error| error.context(&origin);
    let source = |parts: Vec<Part>, notes| {
        let groups = parts.into_iter().map(|base| Group { base: Some(base), languages: Vec::new() }).collect();
        PackageSource { name: name.to_owned(), groups, notes }
    };
    if cab::is_cabinet(&file).map_err(own)? {
        let cabinet = Cabinet::open(Arc::clone(&file)).map_err(own)?;
        if cabinet.files().iter().any(|file| msu::is_update_mum(&file.name)) {
            let short = name.rsplit(['/', '\\']).next().unwrap_or(name);
            return Ok(source(vec![Part::cabinet(origin, short, None, file)?], Vec::new()));
        }
        let update = cabinet.files().iter().find(|file| has_extension(&file.name, "msu"));
        let within = update.map(|update| format!("unpack it, and name the update in it: {}", update.name));
        if msu::is_msu(&cabinet) {
            let (parts, notes) = msu::parts(&cabinet, &origin).map_err(own)?;
            if parts.is_empty() {
                let error = Error::invalid("an update without packages").found(notes.join("; "));
                return Err(own(match within {
                    Some(hint) => error.hint(hint),
                    None => error.hint("name a .cab with an update.mum"),
                }));
            }
            return Ok(source(parts, notes));
        }
        let error = Error::invalid("a cabinet without packages").found("no update.mum in it");
        return Err(own(match within {
            Some(hint) => error.hint(hint),
            None => error.hint("cabinets with drivers go in with --driver"),
        }));
    }
    let mut start = [0; 8];
    if file.len() >= start.len() as u64 {
        file.read_at(0, &mut start).map_err(own)?;
    }
    let error = if start == *WIM {
        Error::unsupported("a WIM, which is an image or an .msu of the new kind (since Windows 11 24H2)")
            .allowed("a .cab, a folder, or an .msu that is a cabinet")
            .hint("of an .msu: `nanovhd extract` unpacks it, name the .cab that comes of it; an image is what packages go into")
    } else if media::is_iso(&file).map_err(own)? {
        Error::invalid("an ISO is no package").hint("say --media for it, and name its packages with --package")
    } else {
        Error::invalid("nothing that packages come in").allowed("a .cab, an .msu, a folder")
    };
    Err(own(error))
}

/// The cabinets of a package, unread.
fn group(media: &Media, title: &Title) -> Result<Group> {
    let part = |package: &media::Package| {
        let name = package.file.rsplit('\\').next().unwrap_or_default();
        let origin = media.name_of(&package.file);
        let gone = || Error::invalid("a file of the medium is gone").context(&origin);
        let file = media.file(&package.file)?.ok_or_else(gone)?;
        Part::cabinet(origin.clone(), name, package.language.as_deref(), file)
    };
    let base = title.base.as_ref().map(part).transpose().context(|| title.stem.clone())?;
    let languages = title.languages.iter().map(part).collect::<Result<_>>()?;
    Ok(Group { base, languages })
}
