//! Elements that say nothing to do in an image, and those that only a running Windows can do.

use super::Compiler;
use super::files::is_one_of;
use crate::format::assembly::Element;

/// Attributes of `assembly`: texts for people, and where its schema is.
const ATTRIBUTES: [&str; 12] = [
    "manifestVersion",
    "copyright",
    "description",
    "displayName",
    "company",
    "supportInformation",
    "creationTimeStamp",
    "lastUpdateTimeStamp",
    "schemaLocation",
    "authors",
    "owners",
    "testers",
];

/// Elements without effect, and why that is so.
const WITHOUT_EFFECT: [(&str, &str); 17] = [
    ("localization", "texts, of which those that something names were read"),
    ("rescache", "a mark for a cache of resources that Windows makes"),
    ("migration", "what an upgrade carries over from an older Windows"),
    (
        "configuration",
        "the settings that answer files may give, for the engine that reads these from the manifest in the store; their defaults are the program's own",
    ),
    ("deconstructionTool", "a note of Microsoft's build"),
    ("languagePack", "a mark: a component of a language"),
    ("feature", "a mark"),
    ("noInheritable", "of side-by-side assemblies, which Windows reads in the store"),
    ("noInherit", "of side-by-side assemblies, which Windows reads in the store"),
    ("compatibility", "of side-by-side assemblies, which Windows reads in the store"),
    ("application", "of side-by-side assemblies, which Windows reads in the store"),
    ("comInterfaceExternalProxyStub", "of side-by-side assemblies, which Windows reads in the store"),
    ("clrClass", "of side-by-side assemblies, which Windows reads in the store"),
    ("clrSurrogate", "of side-by-side assemblies, which Windows reads in the store"),
    ("description", "a text for people"),
    ("appxRegistration", "a mark: the keys of an app's registration stand in the same manifest"),
    ("systemProtection", "who may replace a file is said by its descriptor"),
];

/// Elements that take a running Windows, and what it would do.
const RUNNING: [(&str, &str); 40] = [
    ("imaging", "what sysprep is to do is put among its actions"),
    ("genericCommands", "programs run when a component is installed"),
    ("mof", "classes of WMI are compiled by mofcomp into the repository of the machine"),
    ("networkComponents", "the network setup binds drivers to adapters; what it records differs for each machine"),
    (
        "taskScheduler",
        "the task scheduler knows its tasks by blobs in the registry (TaskCache) whose layout is not published, and reads no file that these do not name; schtasks /create does both",
    ),
    ("sppInstaller", "licences are put into the store of the software protection service by that service"),
    ("iisSetup", "IIS changes its own configuration"),
    ("secureBoot", "variables of the firmware are written"),
    ("bcdedit", "entries of the boot store are changed by bcdedit"),
    ("bfsvc", "boot files are written by bfsvc"),
    ("cleanupCache", "caches of a running Windows are emptied"),
    ("configureNetFx", ".NET is configured by a program of its own"),
    ("firewallGroupActivation", "a group of rules is put in force by the firewall"),
    ("featureSettingsOverride", "settings of features are changed by a service"),
    ("fveUpdateAI", "BitLocker is told of new boot files"),
    ("httpAI", "addresses are reserved with http.sys"),
    ("lodctr", "performance counters are registered by lodctr, which gives them numbers among those that are there"),
    ("msdtc", "the transaction coordinator is set up by a program of its own"),
    ("peerDistAI", "BranchCache is set up by a program of its own"),
    ("printing", "printers are installed by the spooler"),
    ("serviceModelReg", "WCF is registered by a program of its own"),
    ("setupIppAI", "printers are installed by the spooler"),
    ("setupLprAI", "printers are installed by the spooler"),
    ("setupMpdwAI", "printers are installed by the spooler"),
    ("setupMxdwAI", "printers are installed by the spooler"),
    ("setupWfsAI", "fax and scan are set up by a program of their own"),
    ("shortCut", "links of the start menu are made by the shell"),
    ("timezoneAI", "the time zone is set anew"),
    ("upgradeAI", "settings of an older version are carried over"),
    ("vmHostAI", "the hypervisor's host is set up by a program of its own"),
    ("winsockNameSpaceOnlineInstall", "the catalog of Winsock is written by Winsock"),
    ("winsockTransportOnlineInstall", "the catalog of Winsock is written by Winsock"),
    ("winsockAppPermittedLspCategories", "the catalog of Winsock is written by Winsock"),
    ("appxProvisionPackage", "apps are provisioned by the deployment service"),
    ("msix", "apps are provisioned by the deployment service"),
    ("edgeAI", "Edge is set up by a program of its own"),
    ("hotPatchAI", "a running system is patched"),
    ("enableRpcAI", "RPC is set up by a program of its own"),
    ("transforms", "another document is transformed"),
    ("unattendActions", "answers of an answer file are carried out"),
];

impl Compiler<'_> {
    /// What is known of a manifest without anybody carrying it out.
    pub(super) fn known(&mut self) {
        let document = self.document;
        document.mark();
        document.mark_attributes(|name| is_one_of(name, &ATTRIBUTES));
        for (name, _) in WITHOUT_EFFECT {
            document.children(name).for_each(Element::mark_all);
        }
        // Rights that a program asks for when it is started.
        for security in document.children("trustInfo").flat_map(|found| found.children("security")) {
            let asked = ["requestedPrivileges", "applicationRequestMinimum"];
            asked.iter().flat_map(|part| security.children(part)).for_each(Element::mark_all);
        }
        for (name, why) in RUNNING {
            for element in document.children(name) {
                self.leave(element, name, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_in_one_table_and_has_a_reason() {
        let all = WITHOUT_EFFECT.iter().chain(&RUNNING);
        let mut names: Vec<String> = all.clone().map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all.clone().all(|(_, why)| !why.is_empty()));
    }
}
