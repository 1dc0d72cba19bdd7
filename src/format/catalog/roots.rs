//! The roots of Microsoft that signatures of drivers lead to.
//!
//! A catalog brings the certificates between its signer and a root, not the root itself: Windows has that. Of each root there is here what the last
//! link is checked with, its name and public key. The thumbprint is the SHA-1 of its certificate, as Windows shows it. Keys and thumbprints were
//! taken from the certificates themselves, as Wine's crypt32 carries them; signatures of real catalogs hold with that of 2010.
//!
//! | root | has signed |
//! |---|---|
//! | Microsoft Root Certificate Authority 2010 | what signs Windows since 8, the hardware programme, time stamps |
//! | Microsoft Root Certificate Authority 2011 | Microsoft's other programs since 2011 |
//! | Microsoft Root Certificate Authority (2001) | Microsoft's programs and Windows up to 7 |
//! | Microsoft Root Authority (1997) | the hardware programme up to 2012 |
//! | Microsoft Code Verification Root | authorities of others, for drivers; the last of these signatures ended in 2021 |
//!
//! The key of the last one is in no public source that could be checked; it is known by its thumbprint, where a catalog has it.

use rsa::BigUint;
use rsa::RsaPublicKey;
use rsa::traits::PublicKeyParts;

/// A root of Microsoft.
#[derive(Debug, PartialEq, Eq)]
pub struct Root {
    /// The common name of its certificate.
    pub name: &'static str,
    /// The SHA-1 of its certificate, in hexadecimal.
    pub thumbprint: &'static str,
    /// The modulus of its key in hexadecimal; the exponent is 65537.
    modulus: Option<&'static str>,
    /// Whether those below it are Microsoft, rather than somebody whom it vouches for.
    pub is_for_microsoft: bool,
}

impl Root {
    /// Its key.
    pub(super) fn key(&self) -> Option<RsaPublicKey> {
        const EXPONENT: u32 = 65537;
        let modulus = BigUint::parse_bytes(self.modulus?.as_bytes(), 16)?;
        RsaPublicKey::new(modulus, BigUint::from(EXPONENT)).ok()
    }

    /// The root that has this key, or a certificate with this thumbprint.
    pub(super) fn find(key: Option<&RsaPublicKey>, thumbprint: &str) -> Option<&'static Self> {
        let same_key =
            |root: &Self| key.is_some_and(|key| root.key().is_some_and(|own| own.n() == key.n() && own.e() == key.e()));
        ROOTS.iter().find(|root| root.thumbprint == thumbprint || same_key(root))
    }

    /// The roots of a name.
    pub(super) fn named(name: &str) -> impl Iterator<Item = &'static Self> {
        ROOTS.iter().filter(move |root| root.name == name)
    }
}

/// All of them.
pub static ROOTS: [Root; 5] = [
    Root {
        name: "Microsoft Root Certificate Authority 2010",
        thumbprint: "3b1efd3a66ea28b16697394703a72ca340a05bd5",
        modulus: Some(concat!(
            "b9089e28e4e4ec064e5068b341c57bebaeb68eaf81ba22441f6534694cbe704017f2167be279fd86ed0d39f41ba8ad92901ecb3d768f5ad9b591102e3c058d8a",
            "6d2454e71fed56ad83b4509c15a51774885920fc08c58476d368d46f2878ce5cb8f3509044ffe3635fbea19a2c961504d607fe1e8421e0423111c4283694cf50",
            "a4629ec9d6ab7100b25b0ce696d40a2496f5ffc6d5b71bd7cbb72162af12dca15d37e31afb1a4698c09bc0e7631f2a0893027e1e6a8ef29f1889e42285a2b184",
            "5740fff50ed86f9cede2453101cd17e97fb08145e3aa214026a172aaa74f3c01057eee8358b15e06639962917882b70d930c246ab41bdb27ec5f95043f934a30",
            "f59718b3a7f919a793331d01c8db22525cd725c946f9a2fb875943be9b62b18d2d86441a46ac78617e3009faae89c4412a2266039139459cc78b0ca8ca0d2ffb",
            "52ea0cf76333239dfeb01fad67d6a75003c6047063b52cb1865a43b7fbaef96e296e21214126068cc9c3eeb0c28593a1b985d9e6326c4b4c3fd65da3e5b59d77",
            "c39cc055b77400e3b838ab839750e19a42241dc6c0a330d11a5ac85234f773f1c7181f33ad7aeccb4160f3239420c24845ac5c51c62e80c2e27715bd8587ed36",
            "9d9691ee00b5a370ec9fe38d80688376baaf5d70522216e266fbbab3c5c2f73e2f77a6cadec1a6c6484cc3375123d327d7b84e7096f0a14476af78cf9ae16613",
        )),
        is_for_microsoft: true,
    },
    Root {
        name: "Microsoft Root Certificate Authority 2011",
        thumbprint: "8f43288ad272f3103b6fb1428485ea3014c0bcfe",
        modulus: Some(concat!(
            "b28041aa35384d13723268224db8b2f1ffd552bc6cc7f5d24a8c36eed1c25c7e8c8aaeaf13286fc073e33aced025a85a3a6defa8b859ab132368cd0c2987d16f",
            "805c8f447f5d90015258ac51c55f2a87dcdcd80a1dc103b97bb056e8a3de6461c29ef8f37cb9ec0db554fe4cb6654f88f09c48990c420b097c31591779067828",
            "8d893a4c0325be716a5c0be78460a49922e3d2af84a4a7fbd198ed0ca9de9489e10ea0dcc0ce993dea0852bb5679e41f84ba1eb8b4c4495c4f314b87dddd0567",
            "269980e07111a3b8a541e2a453b9f73229830c13bf365e04b34b43472f6be2911ed3984fdd4207c8e81d12fc99a96b3e927ec8d6693afc64bdb6099dcafd0c0b",
            "a29b77604b0394a4306912d6422dc1414ccadcaafd8f5b83469ad9fcb1d1e3b3c97f487acd24f0418f5c74d0acb010200649b7c72d21c857e3d086f30368fbd0",
            "ce71c189994a64016cfdec3091cf413c92c7e5ba861d6184c75f833962aeb4922f47f30bf855eba01f59d0bb749b1ed076e6f2e906d710e8fa64de69c6359688",
            "02f046b83f27996fcb71892935f7481602358fd5797c4d02cf5feb8a834f457188f9a90d4e72e9c29c07cf491b4e040e63518c5ed800c1552cb6c6e0c2654ec9",
            "3439f59cb3c47ee8616e135f15c45fd97eed1dceee44eccb2e86b1ec38f670edab5c13c1d90f0dc780b255ed34f7ac9be4c3dae7473ca6b58f31dfc54bafebf1",
        )),
        is_for_microsoft: true,
    },
    Root {
        name: "Microsoft Root Certificate Authority",
        thumbprint: "cdd4eeae6000ac7f40c3802c171e30148030c072",
        modulus: Some(concat!(
            "f35dfa8067d45aa7a90c2c9020d035083c7584cdb707899c89dadecec360fa91685a9e94712918767cc2e0c82576940e58fa043436e6dfaff780bae9580b2b93",
            "e59d05e3772291f734643c22911d5ee10990bc14fefc755819e179b70792a3ae885908d89f07ca0358fc68296d32d7d2a8cb4bfce10b48324fe6ebb8ad4fe45c",
            "6f139499db95d575dba81ab79491b4775bf5480c8f6a797d1470047d6daf90f5da70d847b7bf9b2f6ce705b7e11160ac7991147cc5d6a6e4e17ed5c37ee592d2",
            "3c00b53682de79e16df3b56ef89f33c9cb527d739836db8ba16ba295979ba3dec24d26ff0696672506c8e7ace4ee1233953199c835084e34ca7953d5b5be6332",
            "594036c0a54e044d3ddb5b0733e458bfef3f5364d842593557fd0f457c24044d9ed6387411972290ce684474926fd54b6fb086e3c73642a0d0fcc1c05af9a361",
            "b9304771960a16b091c04295ef107f286ae32a1fb1e4cd033f777104c720fc490f1d4588a4d7cb7e88ad8e2dec45dbc45104c92afcec869e9a11975bdece5388",
            "e6e2b7fdac95c22840dbef0490df813339d9b245a5238706a5558931bb062d600e41187d1f2eb597cb11eb15d524a594ef151489fd4b73fa325bfcd13300f959",
            "62700732ea2eab402d7bcadd21671b30998f16aa23a841d1b06e119b36c4de40749ce15865c1601e7a5b38c88fbb04267cd41640e5b66b6caa86fd00bfcec135",
        )),
        is_for_microsoft: true,
    },
    Root {
        name: "Microsoft Root Authority",
        thumbprint: "a43489159a520f0d93d032ccaf37e7fe20a8b419",
        modulus: Some(concat!(
            "a902bdc170e63bf24e1b289f97785e30eaa2a98d255ff8fe954ca3b7fe9da2203e7c51a29ba28f60326bd1426479eeac76c954daf2eb9c861c8f9f8466b3c56b",
            "7a6223d61d3cde0f0192e896c4bf2d669a9a682699d03a2cbf0cb55826c146e70a3e38962ca92839a8ec498342e3840fbb9a6c5561ac827ca1602d774ce999b4",
            "643b9a501c310824149fa9e7912b18e63d986314605805659f1d375287f7a7ef9402c61bd3bf5545b38980bf3aec54944eaefda77a6d744eaf18cc9609282100",
            "5790606937bb4b12073c56ff5bfba4660a08a6d2815657efb63b5e16817704daf6beae8095feb0cd7fd6a71a725c3ccabcf008a32230b30685c9b320771385df",
        )),
        is_for_microsoft: true,
    },
    Root {
        name: "Microsoft Code Verification Root",
        thumbprint: "8fbe4d070ef8ab1bccaf2a9d5ccae7282a2c66b3",
        modulus: None,
        is_for_microsoft: false,
    },
];
