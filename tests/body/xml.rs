use sipliance::body::xml::{Node, Writer, read, read_any_case, read_fragment};

use super::refused;

#[test]
fn a_tree_with_namespaces_texts_and_lines() {
    let root = read(
        b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?>\r\n<!-- c --><a xmlns='one' xmlns:t='two' t:k='v' k='w&#10;&amp;'>\n <t:b>x &lt;<![CDATA[<&y]]> z</t:b>\n <c xmlns=''/>tail</a>\n",
    )
    .unwrap();
    assert!(root.is("one", "a"));
    assert_eq!(root.attr("k"), Some("w\n&"));
    assert_eq!(root.attr_ns("two", "k"), Some("v"));
    let b = root.child_ns("two", "b").unwrap();
    assert_eq!((b.text().as_ref(), b.line), ("x <<&y z", 3));
    let c = root.child("c").unwrap();
    assert_eq!((c.ns.as_deref(), c.line), (None, 4));
    assert_eq!(root.text(), "tail");
    assert!(matches!(
        root.children.as_slice(),
        [Node::Text(_), Node::Element(_), Node::Text(_), Node::Element(_), Node::Text(_)]
    ));
}

/// Proves: PX-4, DMP-6
#[test]
fn a_doctype_elsewhere_is_passed_over_and_nothing_is_expanded() {
    for doctype in [
        "<!DOCTYPE presence PUBLIC \"-//IETF//DTD RFCxxxx XPIDF 1.0//EN\" \"xpidf.dtd\">",
        "<!DOCTYPE presence SYSTEM 'file:///etc/passwd'>",
        "<!DOCTYPE presence>",
    ] {
        assert_eq!(read(format!("{doctype}<presence/>").as_bytes()).unwrap().name, "presence", "{doctype}");
    }
    refused(
        read,
        &[
            ("<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>", "declarations of its own"),
            ("<!DOCTYPE a [<!ENTITY l 'lol'><!ENTITY m '&l;&l;&l;'>]><a>&m;</a>", "declarations of its own"),
            ("<!DOCTYPE a SYSTEM 'a.dtd' [ ]><a/>", "declarations of its own"),
            ("<!DOCTYPE a><!DOCTYPE a><a/>", "only once"),
            ("<a><!DOCTYPE a></a>", "only once"),
            ("<a/><!DOCTYPE a>", "only once"),
            ("<a>&nbsp;</a>", "\"nbsp\" stands where one of the five entities"),
            ("<a b='&xxe;'/>", "line 1:"),
            ("<a>&#1;</a>", "line 1:"),
        ],
    );
}

#[test]
fn what_is_no_xml_says_where() {
    refused(
        read,
        &[
            ("", "the root element is missing"),
            (" \n<!-- a -->", "the root element is missing"),
            ("<a>\n<b>\n</a>", "line 3:"),
            ("<a>\n<b>", "line 2: <b> is not closed"),
            ("<a/>\n<b/>", "line 2: a second root element"),
            ("<a/>x", "\"x\" stands where an element belongs"),
            ("x<a/>", "\"x\" stands where an element belongs"),
            ("<a b=1/>", "line 1:"),
            ("<a b='1' b='2'/>", "line 1:"),
            ("<p:a/>", "a prefix is not bound"),
            ("<a p:b=''/>", "a prefix is not bound"),
            ("<1a/>", "\"1a\" stands where the name"),
            ("<a\u{1}/>", "line 1:"),
            ("<a>\u{1}</a>", "control character"),
            ("<?xml version='1.0' encoding='iso-8859-1'?><a>é</a>", "not UTF-8"),
        ],
    );
    let fault = read(b"<a>\n\xff</a>").unwrap_err();
    assert_eq!(fault.to_string(), "line 2: the text is not UTF-8");
    assert_eq!(fault.status(), 400);
}

/// Proves: PX-4, DMP-6
#[test]
fn every_bound_holds() {
    let fine = format!("{}{}", "<a>".repeat(16), "</a>".repeat(16));
    assert!(read(fine.as_bytes()).is_ok());
    let deep = format!("{}{}", "<a>".repeat(17), "</a>".repeat(17));
    let many = format!("<a>{}</a>", "<b/>".repeat(2000));
    let long = format!("<a>{}</a>", "x".repeat(16 * 1024 + 1));
    let pieces = format!("<a>{}</a>", "0123456789abcdef<b/>".repeat(1025));
    let value = format!("<a b='{}'/>", "x".repeat(16 * 1024 + 1));
    let attributes: String = (0..33).map(|n| format!(" a{n}=''")).collect();
    let attributes = format!("<a{attributes}/>");
    let big = format!("<a>{}</a>", " ".repeat(64 * 1024));
    refused(
        read,
        &[
            (&deep, "more than 16 levels"),
            (&many, "more than 2000 elements"),
            (&long, "more than 16384 bytes"),
            (&pieces, "more than 16384 bytes"),
            (&value, "more than 16384 bytes"),
            (&attributes, "more than 32 attributes"),
            (&big, "more than 65536 bytes"),
        ],
    );
    assert_eq!(read(big.as_bytes()).unwrap_err().status(), 413);
}

#[test]
fn any_case_and_several_roots_on_request() {
    assert_eq!(read_any_case(b"<MAIL URGENT='1'/>").unwrap().attr("urgent"), Some("1"));
    let roots = read_fragment(b"<event>ring</event>\n<Identity>ana</Identity>").unwrap();
    assert_eq!(roots.iter().map(|root| root.name.as_str()).collect::<Vec<_>>(), ["event", "identity"]);
    refused(read_fragment, &[("<a/>and<b/>", "\"and\" stands where an element"), ("", "is missing")]);
}

#[test]
fn what_is_written_is_read_back() {
    let mut w = Writer::new();
    w.tag("a").attr("k", "\t<\"'&\u{1}\r\n>").maybe("none", None::<&str>).open();
    w.leaf("b", "x < y & \"z\"\r\u{0}");
    w.tag("c").open();
    w.tag("d").text("");
    let text = w.finish();
    let root = read(text.as_bytes()).unwrap();
    assert_eq!(root.attr("k"), Some("\t<\"'&\u{fffd}\r\n>"), "{text}");
    assert_eq!(root.child("b").unwrap().children, [Node::Text("x < y & \"z\"\r\u{fffd}".to_owned())]);
    assert_eq!(root.child("c").unwrap().elements().count(), 1);
}
