//! Every rule that is checked: its code, how bad it is to break it, what it demands, and what Windows or the firmware does about it.
//!
//! The list in `docs/findings.md` is made from this table.

use super::Level;

/// A part of an image that is checked by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// The file around the disk.
    Container,
    /// The disk's division.
    Partitions,
    /// A volume.
    Ntfs,
    /// The way from the firmware to the loader.
    Boot,
    /// The installation.
    Windows,
}

macro_rules! rules {
    ($($area:ident { $($rule:ident $code:literal $level:ident $about:literal => $then:literal)* })*) => {
        /// A rule, named after what it is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $($(#[doc = $about] $rule,)*)* }

        impl Rule {
            /// All rules, area by area.
            pub const ALL: &[Rule] = &[$($(Rule::$rule,)*)*];

            /// The name by which scripts know it; it never changes.
            pub fn code(self) -> &'static str {
                match self { $($(Self::$rule => $code,)*)* }
            }

            /// How bad it is to break it, as a rule.
            pub fn level(self) -> Level {
                match self { $($(Self::$rule => Level::$level,)*)* }
            }

            /// Where it belongs.
            pub fn area(self) -> Area {
                match self { $($(Self::$rule => Area::$area,)*)* }
            }

            /// What it demands.
            pub fn about(self) -> &'static str {
                match self { $($(Self::$rule => $about,)*)* }
            }

            /// What Windows, or the firmware, does where it is broken.
            pub fn consequence(self) -> &'static str {
                match self { $($(Self::$rule => $then,)*)* }
            }
        }
    };
}

rules! {
    Container {
        Unreadable "container-unreadable" Error
            "The container can be opened" => "no hypervisor attaches it"
        RawSize "raw-size" Warning
            "A disk without a container has whole sectors" => "the last bytes are cut off"
        VhdFooter "vhd-footer" Error
            "The footer at the end of a VHD: cookie, version, type, reserved bits, checksum" => "Hyper-V and Azure refuse the file"
        VhdFooterCopy "vhd-footer-copy" Error
            "The copy of the footer at the start of a dynamic VHD equals it" => "Hyper-V refuses the file"
        VhdHeader "vhd-header" Error
            "The header of a dynamic VHD: cookie, version, block size, reserved bytes, checksum" => "Hyper-V refuses the file"
        VhdBat "vhd-bat" Error
            "The block allocation table lies in the file, has an entry for each block, and its entries lead into the file" => "reads of the block fail"
        VhdBlockOverlap "vhd-block-overlap" Error
            "No two blocks, or block and table, share sectors of the file" => "what is written to one block changes another"
        VhdBitmap "vhd-bitmap" Warning
            "Every sector of a dynamic disk's block that holds something is marked as present" => "sectors that are not marked read as zero in some hypervisors"
        VhdSize "vhd-size" Warning
            "A VHD has whole MiB, 3 MiB to 2040 GiB, and a fixed one as much as its file holds" => "Azure refuses the upload; other sizes are rounded by converters"
        VhdGeometry "vhd-geometry" Warning
            "The geometry follows from the size" => "Virtual PC and old QEMU see a disk of another size"
        VhdAlignment "vhd-alignment" Note
            "Blocks of a dynamic VHD lie on 4 KiB boundaries" => "slow on disks with 4 KiB sectors; Get-VHD reports an alignment of 0"
        VhdParent "vhd-parent" Error
            "The parent of a differencing disk is found, and is the one it was made for" => "Hyper-V does not attach the chain"
        VhdLocator "vhd-parent-locator" Error
            "A differencing VHD has a path of its parent, in a locator that lies in the file beside all else" => "Hyper-V does not find the parent"
        VhdxIdentifier "vhdx-identifier" Error
            "A VHDX begins with its file identifier" => "Hyper-V does not recognise the file"
        VhdxHeader "vhdx-header" Error
            "Both headers: signature, version, checksum, sequence numbers, place of the log" => "the other header is used if it is whole, else the file is refused"
        VhdxLog "vhdx-log" Error
            "The log is empty, or can be replayed" => "Hyper-V replays it when it attaches the disk, or refuses the file"
        VhdxRegion "vhdx-region-table" Error
            "Both region tables: checksum, known regions, places in whole MiB inside the file, no overlap, equal" => "Hyper-V refuses the file"
        VhdxMetadata "vhdx-metadata" Error
            "The metadata items that a disk needs are there, of the right size and with allowed values" => "Hyper-V refuses the file"
        VhdxBat "vhdx-bat" Error
            "The entries of the block allocation table have known states and lead into the file" => "Hyper-V refuses the file"
        VhdxBlockOverlap "vhdx-block-overlap" Error
            "No two blocks, regions or the log share a part of the file" => "what is written to one changes another"
        VhdxSize "vhdx-size" Error
            "A VHDX has whole sectors, at most 64 TiB; the file has whole MiB" => "Hyper-V refuses the file"
        VhdxParent "vhdx-parent" Error
            "The parent of a differencing disk is found, its data write GUID is the one it was made for, and it has the same sectors" => "Hyper-V does not attach the chain"
        VhdxLocator "vhdx-parent-locator" Error
            "The locator of a parent has keys that differ, no texts that are empty, and a path" => "Hyper-V refuses the file, or does not find the parent"
        VdiHeader "vdi-header" Error
            "The header of a VDI: version, type, flags, block size, size of the disk, bytes per sector, UUIDs that are not zero" => "VirtualBox refuses the file"
        VdiMap "vdi-block-map" Error
            "The block map lies between header and data, its entries lead into the file, and there are as many of them as the header has allocated blocks" => "reads of the block fail, or VirtualBox puts a new block onto another"
        VdiBlockOverlap "vdi-block-overlap" Error
            "No two blocks share a place in the file" => "what is written to one block changes another"
        VdiSize "vdi-size" Warning
            "A VDI has whole sectors, and whole blocks" => "the rest is cut off or filled up by who resizes or converts it"
        VdiAlignment "vdi-alignment" Note
            "Blocks of a VDI lie on 4 KiB boundaries" => "slow on disks with 4 KiB sectors"
        Qcow2Header "qcow2-header" Error
            "The header of a qcow2: version, cluster size, sizes, places of the tables, features that are known" => "QEMU refuses the file"
        Qcow2Marks "qcow2-marks" Error
            "The file is not marked as corrupt, nor as dirty" => "QEMU opens it for reading only, or counts references anew"
        Qcow2Table "qcow2-table" Error
            "L1, L2 and refcount tables lead to whole clusters of the file, and their reserved bits are zero" => "QEMU refuses what lies there, and marks the file as corrupt"
        Qcow2Overlap "qcow2-overlap" Error
            "Tables share their clusters with nothing else" => "what is written to the disk destroys its tables"
        Qcow2Refcount "qcow2-refcount" Error
            "Each cluster is counted at least as often as it is used" => "QEMU gives a cluster that is in use to something else, and what it held is lost"
        Qcow2Leak "qcow2-leak" Warning
            "No cluster is counted more often than it is used" => "the space is lost; `qemu-img check -r leaks` frees it"
        Qcow2Copied "qcow2-copied" Error
            "Bit 63 of an entry says whether the cluster that it leads to is counted once" => "QEMU changes a cluster that something else needs, or copies one for nothing"
        VmdkHeader "vmdk-header" Error
            "The header of a VMDK: version, flags, line ends, compression, reserved bytes, sizes of disk, grains and tables" => "no hypervisor attaches it"
        VmdkFooter "vmdk-footer" Error
            "A stream ends with its directory, the footer, which repeats the header, and the end-of-stream marker, each behind its marker" => "importing it fails"
        VmdkDescriptor "vmdk-descriptor" Error
            "The descriptor has a content id, no parent, the kind and the length that the header has, and an adapter" => "VMware refuses the disk, or takes it for another"
        VmdkSize "vmdk-size" Note
            "A VMDK has whole MiB" => "vSphere refuses the import; other sizes are rounded by converters"
        VmdkUnclean "vmdk-unclean" Warning
            "No machine has the disk open, or died with it" => "VMware checks and repairs it before use"
        VmdkTable "vmdk-grain-table" Error
            "Grain directory and tables lie in the file, and their entries lead into it" => "reads of the grains fail"
        VmdkRedundant "vmdk-redundant-table" Warning
            "The redundant directory and tables lead to the same grains" => "VMware finds the disk in need of repair"
        VmdkOverlap "vmdk-grain-overlap" Error
            "No two grains or structures share sectors of the file" => "what is written to one grain changes another"
        VmdkGrain "vmdk-compressed-grain" Error
            "A compressed grain has the marker of its place on the disk, and decompresses to its length" => "reads of the grain fail, or give another's contents"
        VmdkMarkers "vmdk-markers" Error
            "The markers of a stream lead from its first grain to its end, past every grain once, in the order of the disk" => "importing it fails, or leaves grains out"
    }
    Partitions {
        NoPartitions "partition-table" Error
            "The disk has an MBR, a GPT or a volume at its start" => "Windows takes the disk for an empty one"
        MbrDiskSignature "mbr-disk-signature" Error
            "The disk signature is not zero" => "Windows writes a new one, and the boot configuration no longer finds the disk"
        MbrEntry "mbr-entry" Error
            "Partitions have a type, a start and a length, a status of 0 or 80h, and lie on the disk" => "Windows ignores the partition or the whole table"
        PartitionOverlap "partition-overlap" Error
            "No two partitions share sectors" => "what is written to one changes the other"
        PartitionAlignment "partition-alignment" Note
            "Partitions start on whole MiB" => "slow on disks whose sectors are larger than they say"
        PartitionType "partition-type" Error
            "A partition's type says what is in it" => "Windows gives it no drive letter, or the firmware does not find it"
        MbrActive "mbr-active" Error
            "One partition of an MBR is active, no more" => "the BIOS finds nothing to start, or an MBR refuses the table"
        GptProtective "gpt-protective-mbr" Error
            "A GPT disk has a protective MBR over all of it" => "older systems take the disk for empty; some firmware refuses it"
        GptHeader "gpt-header" Error
            "The primary GPT header: signature, revision, checksum, its own place, usable sectors" => "Windows and firmware use the backup, or take the disk for empty"
        GptBackup "gpt-backup" Error
            "The backup GPT header and table are at the end of the disk and agree with the primary ones" => "Windows rewrites it; a disk that was resized has it in the wrong place"
        GptEntries "gpt-entries" Error
            "The table of entries has the right checksum; partitions lie in the usable sectors" => "Windows uses the backup, or takes the disk for empty"
        GptGuid "gpt-guid" Error
            "The GUIDs of the disk and of all partitions are set and differ" => "Windows sets the disk offline, or mounts the wrong volume"
    }
    Ntfs {
        BootSector "ntfs-boot-sector" Error
            "The fields of the boot sector: name, sector and cluster sizes, media, places of both tables, signature" => "Windows does not mount the volume (\"RAW\")"
        BootBackup "ntfs-boot-backup" Error
            "The last sector of the partition is a copy of the boot sector" => "chkdsk rewrites it"
        VolumeSize "ntfs-volume-size" Error
            "The volume has one sector less than its partition" => "a volume longer than its partition is not mounted; a shorter one wastes the rest"
        BootFile "ntfs-boot-file" Error
            "$Boot is the first 8 KiB of the volume" => "the boot record reads its own continuation from somewhere else"
        MftMirror "ntfs-mft-mirror" Error
            "$MFTMirr equals the first records of $MFT" => "chkdsk corrects it; Windows relies on it where the first is damaged"
        MftRuns "ntfs-mft" Error
            "$MFT begins where the boot sector says, and describes all of itself" => "Windows does not mount the volume"
        MftBitmap "ntfs-mft-bitmap" Error
            "$MFT:$BITMAP marks the records in use, and no others" => "records in use are given away; chkdsk corrects it"
        Fixup "ntfs-fixup" Error
            "Update sequences are in their place and no stride is torn" => "Windows fails to read the record or block, and marks the volume dirty"
        RecordMagic "ntfs-record-magic" Error
            "A record in use begins with FILE" => "chkdsk deletes the file"
        RecordHeader "ntfs-record-header" Error
            "The header of a record: place of attributes, used and allocated length, end marker" => "chkdsk deletes or truncates the record"
        RecordNumber "ntfs-record-number" Error
            "A record holds its own number" => "chkdsk corrects it"
        RecordSequence "ntfs-record-sequence" Error
            "Sequence numbers are not zero, and those of system files are their record numbers" => "references to the file are taken for stale"
        RecordFlags "ntfs-record-flags" Error
            "The flags of a record agree with its indexes" => "chkdsk corrects them, or takes a directory for a file"
        NextInstance "ntfs-next-instance" Error
            "Attribute instances differ, and are below the next one" => "chkdsk corrects them"
        LinkCount "ntfs-link-count" Error
            "A file's link count is the number of its names, DOS names included" => "chkdsk corrects it; deleting a link may delete the file"
        ExtentRecord "ntfs-extent-record" Error
            "A record that extends another names it, and is named by its attribute list" => "chkdsk frees the record"
        AttributeHeader "ntfs-attribute-header" Error
            "The header of an attribute: length, name, value, flags" => "chkdsk deletes the attribute"
        AttributeOrder "ntfs-attribute-order" Error
            "Attributes of a record are sorted by type and name" => "attributes are not found; chkdsk sorts or deletes them"
        AttributeKind "ntfs-attribute-kind" Error
            "Each attribute is of a known type, of a size and residence that $AttrDef allows, there only once, and those that a file needs are there" => "chkdsk deletes the attribute or the file"
        AttributeList "ntfs-attribute-list" Error
            "An attribute list is sorted and lists each attribute of its file, and nothing else" => "attributes are not found; chkdsk rebuilds or deletes the file"
        Runs "ntfs-runs" Error
            "Data runs can be decoded, lie in the volume, and cover the VCNs that the header names" => "chkdsk truncates or deletes the stream"
        AttributeSizes "ntfs-attribute-sizes" Error
            "Initialised size <= size <= allocated size; allocated and total sizes are what the runs hold" => "chkdsk corrects them (\"the total allocated size is incorrect\")"
        SharedCluster "ntfs-shared-cluster" Error
            "No cluster belongs to two streams" => "what is written to one file changes another; chkdsk copies the cluster"
        ClusterBitmap "ntfs-cluster-bitmap" Error
            "$Bitmap marks each cluster that a stream holds" => "the cluster is given to another file; chkdsk corrects it"
        ClusterLeak "ntfs-cluster-leak" Error
            "$Bitmap marks no cluster that no stream holds" => "chkdsk frees the space"
        BitmapTail "ntfs-bitmap-tail" Error
            "$Bitmap has a bit for each cluster, and the bits after the last one are set" => "chkdsk corrects it"
        StandardInformation "ntfs-standard-information" Error
            "$STANDARD_INFORMATION is there, first, of 48 or 72 bytes, with known flags" => "chkdsk rebuilds it with default values"
        FileName "ntfs-file-name" Error
            "$FILE_NAME is well-formed: length, parent, namespace, allowed characters" => "chkdsk deletes the name; a file without names is lost"
        NamePair "ntfs-name-pair" Error
            "A long name (namespace 1) and its short one (2) come as a pair in one directory, at most one pair for a file" => "chkdsk deletes the lone name or changes its namespace"
        ShortName "ntfs-short-name" Error
            "A short name has the form 8.3" => "chkdsk makes a new one; old programs do not find the file"
        DuplicateName "ntfs-duplicate-name" Error
            "No two names in a directory are equal without case, unless it is case-sensitive" => "the second file cannot be opened"
        IndexRoot "ntfs-index-root" Error
            "The head of an index: attribute, collation, size of blocks and units" => "chkdsk rebuilds the index; files cannot be found meanwhile"
        IndexBlock "ntfs-index-block" Error
            "An index block: INDX, its own number, place and length of its entries" => "chkdsk rebuilds the index (\"multi-sector header signature ... is incorrect\")"
        IndexEntry "ntfs-index-entry" Error
            "Entries of an index: lengths, keys, flags, the last one without a key" => "chkdsk rebuilds the index"
        IndexOrder "ntfs-index-order" Error
            "The keys of an index ascend" => "files cannot be found; chkdsk sorts the index"
        IndexShape "ntfs-index-shape" Error
            "Each index block hangs on one entry, all leaves lie equally deep, flags of nodes agree with children" => "chkdsk rebuilds the index"
        IndexBitmap "ntfs-index-bitmap" Error
            "The bitmap of an index marks the blocks that hang in it, and no others" => "blocks are given away twice; chkdsk corrects it (\"the index bitmap is incorrect\")"
        IndexReference "ntfs-index-reference" Error
            "An entry of a directory leads to a file in use that has this name in this directory" => "the name is shown, but cannot be opened; chkdsk deletes the entry"
        NotIndexed "ntfs-not-indexed" Error
            "Each name of a file has an entry in its directory" => "the file is not found by that name; chkdsk recovers it as an orphan"
        EntryTimes "ntfs-entry-times" Error
            "The times in an entry are the file's" => "directory listings show other times than the file has; chkdsk corrects them"
        EntrySizes "ntfs-entry-sizes" Error
            "The sizes in an entry are the file's" => "directory listings, and boot programs, see another size; chkdsk corrects them"
        EntryFlags "ntfs-entry-flags" Error
            "The attributes in an entry are the file's" => "directories are taken for files, hidden files are shown; chkdsk corrects them"
        EntryTag "ntfs-entry-tag" Error
            "The reparse tag in an entry, or else the size of extended attributes, is the file's" => "links are not followed in listings; chkdsk corrects it"
        Unreachable "ntfs-unreachable" Error
            "Each file can be reached from the root" => "chkdsk recovers it as an orphan"
        DirectoryCycle "ntfs-directory-cycle" Error
            "No directory lies in itself" => "programs run in circles; chkdsk breaks it up"
        SecurityStream "ntfs-sds" Error
            "The entries of $Secure:$SDS: length, place, alignment, no crossing of 256 KiB blocks" => "chkdsk rebuilds $Secure and may give files default descriptors"
        SecurityMirror "ntfs-sds-mirror" Error
            "Each block of $Secure:$SDS is followed by its copy" => "chkdsk repairs it"
        SecurityHash "ntfs-sds-hash" Error
            "The hash of a descriptor is that of its bytes" => "equal descriptors are not found; chkdsk corrects it"
        SecurityIdIndex "ntfs-sii" Error
            "$Secure:$SII has an entry for each descriptor, and no others" => "files with that descriptor cannot be opened; chkdsk rebuilds the index"
        SecurityHashIndex "ntfs-sdh" Error
            "$Secure:$SDH has an entry for each descriptor, and no others" => "chkdsk rebuilds the index"
        SecurityId "ntfs-security-id" Error
            "The security id of each file is in $Secure" => "access is denied; chkdsk sets a default"
        SecurityDescriptor "ntfs-security-descriptor" Error
            "Security descriptors are self-relative and well-formed" => "access is denied; chkdsk replaces it"
        SecurityUnused "ntfs-security-unused" Note
            "Each descriptor of $Secure is in use" => "chkdsk cleans it up"
        SystemFile "ntfs-system-file" Error
            "The system files are there, with their names, flags and attributes" => "Windows does not mount the volume, or chkdsk repairs it"
        AttributeDefinitions "ntfs-attrdef" Error
            "$AttrDef is the table that Windows writes" => "chkdsk rewrites it"
        UpCase "ntfs-upcase" Error
            "$UpCase has 65,536 units, and is the table that Windows writes" => "names are sorted differently; Windows does not mount the volume"
        UpCaseInfo "ntfs-upcase-info" Warning
            "$UpCase:$Info has the table's checksum" => "chkdsk of Windows 8 and later complains about a wrong upper-case file"
        BadClusters "ntfs-bad-clusters" Error
            "$BadClus:$Bad is a hole over the whole volume, and knows no bad clusters" => "chkdsk rewrites it; bad clusters on a virtual disk are a mistake"
        LogFile "ntfs-log-file" Error
            "$LogFile was closed cleanly, or is empty" => "Windows replays the journal at the next mount; other systems refuse to write"
        VolumeInformation "ntfs-volume-information" Error
            "$Volume has version 3.1, known flags and a label that is allowed" => "Windows does not mount the volume, or upgrades it"
        VolumeDirty "ntfs-volume-dirty" Error
            "The volume is not marked dirty" => "Windows checks the volume at the next start"
        ReparsePoint "ntfs-reparse-point" Error
            "Reparse data is well-formed, and the file's flags say that it is there" => "the file cannot be opened; chkdsk deletes the reparse point"
        ReparseIndex "ntfs-reparse-index" Error
            "$Extend\\$Reparse:$R has an entry for each reparse point, and no others" => "chkdsk corrects it; mount points are not found"
        ObjectId "ntfs-object-id" Error
            "$Extend\\$ObjId:$O has an entry for each object id, and no others" => "chkdsk corrects it; links by object id fail"
        Quota "ntfs-quota" Error
            "$Extend\\$Quota: entries of $O and $Q agree" => "Windows rebuilds the quota information"
        ExtendedAttributes "ntfs-extended-attributes" Error
            "$EA is well-formed, and $EA_INFORMATION agrees with it" => "chkdsk deletes the extended attributes"
        CompressedStream "ntfs-compressed-stream" Error
            "Streams compressed by NTFS can be decoded" => "reads of the file fail, or give zeros"
        WofStream "ntfs-wof-stream" Error
            "Files compressed by the overlay filter (CompactOS) can be decoded" => "the file cannot be opened; a boot program or driver among them stops the start"
        SparseFlag "ntfs-sparse-flag" Error
            "A stream is sparse or compressed only where its file's flags say so" => "chkdsk corrects it"
    }
    Boot {
        BootFirmware "boot-firmware" Note
            "Which firmware can start the disk" => "nothing: it says how the disk was read"
        MbrCode "boot-mbr-code" Error
            "The MBR has boot code" => "the BIOS starts nothing: a black screen"
        BootRecord "boot-record" Error
            "The boot record of the active partition has code, and is the one that its volume describes" => "\"Missing operating system\", or a black screen"
        HiddenSectors "boot-hidden-sectors" Error
            "The boot sector knows at which sector its partition begins" => "BOOTMGR resets the machine at once"
        Bootmgr "boot-bootmgr" Error
            "BOOTMGR is in the root of the active partition, plain and small enough to be loaded" => "\"BOOTMGR is missing\" or \"is compressed\""
        BootmgrFragmented "boot-bootmgr-fragmented" Note
            "BOOTMGR lies in one piece" => "nothing: it is read piece by piece"
        EfiSystem "boot-efi-system-partition" Error
            "There is an EFI system partition with a FAT volume" => "UEFI firmware finds nothing to start"
        EfiBootManager "boot-efi-boot-manager" Error
            "\\EFI\\Boot has the boot manager for the processor" => "UEFI firmware finds nothing to start"
        BcdStore "boot-bcd" Error
            "The boot configuration is where the boot manager looks for it, sound and clean" => "0xc000000f or 0xc0000098, \\Boot\\BCD"
        BcdObject "boot-bcd-object" Error
            "Objects of the boot configuration have a type and are what refers to them; default and inherited ones are there" => "the entry is not shown, or its settings are ignored"
        BcdElement "boot-bcd-element" Error
            "Elements of the boot configuration are of the kind that their code says" => "the boot manager ignores the element or the entry"
        BcdDevice "boot-bcd-device" Error
            "Device elements lead to a partition of this disk" => "0xc000000e (no such disk) or 0xc0000225 (no such partition)"
        Loader "boot-loader" Error
            "The loader that the default entry names is there, for this firmware and processor" => "0xc000000f, winload"
        LoaderHive "boot-system-hive" Error
            "The SYSTEM hive is there, sound and clean" => "0xc000000f or 0xc000014c, \\Windows\\System32\\config\\SYSTEM"
        BootFileCompressed "boot-file-compressed" Error
            "Files that the loader reads are not encrypted, nor compressed in a way it cannot read" => "the loader stops at that file"
    }
    Windows {
        Installation "windows" Note
            "Which Windows is on the volume" => "nothing: it says what was found"
        HiveMissing "windows-hive-missing" Error
            "The hives of an installation are there" => "Windows stops while it starts"
        HiveDamaged "windows-hive-damaged" Error
            "Hives are sound" => "Windows refuses the hive, and stops where it is SYSTEM"
        HiveDirty "windows-hive-dirty" Warning
            "Hives were closed cleanly" => "Windows replays the hive's logs when it loads it; the loader refuses one without"
        ServiceImage "windows-service-image" Warning
            "The program or driver of each service that starts by itself is there" => "the service fails to start, with an event in the log"
        BootDriver "windows-boot-driver" Error
            "The driver of each service that starts at boot is there, for the processor of the image" => "the loader stops: 0xc0000221 or 0xc000000f"
        StartOverride "windows-start-override" Note
            "No StartOverride keeps a boot driver from starting" => "the driver is not loaded at boot, although its Start says so"
        MachineMismatch "windows-machine" Error
            "Programs of the installation are for one processor" => "the loader stops: 0xc0000359"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique() {
        let codes: HashSet<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        assert_eq!(codes.len(), Rule::ALL.len());
        assert!(
            codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        );
    }
}
