use super::*;
use crate::base::Machine;

const NANO: TargetOs =
    TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build: 14393, product: ProductType::Server, suites: 0 };

fn parse(text: &str) -> Inf {
    Inf::parse(text.as_bytes()).unwrap()
}

#[test]
fn lines_are_parted() {
    let inf = parse(
        "; comment\r\n[A]\r\nkey = one, \"two, \"\"2\"\" ; no comment\" , ,four ; comment\r\nalone\r\n\
         long = a,\\ ; goes on\r\n  b\r\n[B]\n\"x = y\" = z\n[a]\nmore=1",
    );
    let a = inf.section("a").unwrap();
    assert_eq!(a.entries.len(), 4);
    assert_eq!(a.entries[0].key.as_deref(), Some("key"));
    assert_eq!(a.entries[0].fields, ["one", "two, \"2\" ; no comment", "", "four"]);
    assert_eq!((a.entries[1].key.as_deref(), a.entries[1].first()), (None, "alone"));
    assert_eq!((a.entries[2].line, a.entries[2].fields.as_slice()), (5, &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(a.get("MORE").unwrap().field(0), "1");
    assert_eq!(inf.section("B").unwrap().entries[0].key.as_deref(), Some("x = y"));
}

#[test]
fn tokens_are_replaced() {
    let inf = parse("[Strings]\nA=\"one\"\nb.c = two\n[x]\ny=%a%\n");
    assert_eq!(inf.expand("%A% and %B.C%, 100%%, %none%, %"), "one and two, 100%, %none%, %");
    assert_eq!(inf.missing_tokens("%a% %none% 5%"), ["none"]);
}

#[test]
fn the_best_decoration_is_chosen() {
    let inf = parse(
        "[Manufacturer]\n%m%=Models,NTamd64.6.1,NTamd64.10.0...14393,NTamd64.10.0...17763,NTx86\n\
         [Models]\n%d%=old,PCI\\A\n[Models.NTamd64.10.0...14393]\n%d%=new,PCI\\A,PCI\\B\n[Models.NTamd64.10.0...17763]\n%d%=newest,PCI\\A\n[Models.NTamd64.6.1]\n%d%=seven,PCI\\A\n",
    );
    let install = |target: TargetOs| inf.models(&target).iter().map(|model| model.install.clone()).collect::<Vec<_>>();
    assert_eq!(install(NANO), ["new"]);
    assert_eq!(inf.models(&NANO)[0].ids, [r"PCI\A", r"PCI\B"]);
    assert_eq!(install(TargetOs { build: 20348, ..NANO }), ["newest"]);
    assert_eq!(install(TargetOs { major: 6, minor: 3, build: 9600, ..NANO }), ["seven"]);
    assert_eq!(install(TargetOs { machine: Machine::Arm64, ..NANO }), Vec::<String>::new());
}
