import ToroCore

/// The files that ``HTTPConformance`` asks for.
public enum HTTPSite {
    /// The length of `/big.bin`.
    public static let bigLength = 1_000_003

    /// The files, to be made in any file system.
    public static let recipe = FileSystemRecipe(items: [
        text("index.html", "<p>start</p>"),
        text("a.txt", "alpha"),
        text("empty", ""),
        text("data.json", "{}"),
        text("with space&<b>.html", "space"),
        text("100%25", "percent"),
        text("uml\u{E4}ut", "umlaut"),
        text("...", "dots"),
        .init(path: "big.bin", content: .patternFile(length: bigLength)),
        .init(path: "dir", content: .directory),
        text("dir/index.html", "<p>dir</p>"),
        text("dir/b.css", "b{}"),
        .init(path: "plain", content: .directory),
        text("plain/c.txt", "c"),
    ])

    private static func text(_ path: String, _ text: String) -> FileSystemRecipe.Item {
        FileSystemRecipe.Item(path: Path(path), content: .file(Array(text.utf8)))
    }
}
