import ToroCore

/// What a file system under test can hold.
public struct FileSystemTraits: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// The traits with these bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// It has symbolic links.
    public static let symbolicLinks = FileSystemTraits(rawValue: 1)
    /// Names are bytes: they need not be UTF-8, and control characters are allowed.
    public static let rawNames = FileSystemTraits(rawValue: 2)

    /// What a Linux file system can hold.
    public static let posix: FileSystemTraits = [.symbolicLinks, .rawNames]
}

/// The tree of files that ``FileSystemConformance`` expects, as data.
///
/// Whoever tests a file system makes these files there in its own way: `build(in:)` for a
/// ``MemoryTree``, system calls for a folder of the host.
public struct FileSystemRecipe: Sendable {
    /// What is at a path.
    public enum Content: Equatable, Sendable {
        /// A directory, possibly empty.
        case directory
        /// A file with these bytes.
        case file([UInt8])
        /// A file of `length` bytes, the one at `offset` being `pattern(at: offset)`.
        case patternFile(length: Int)
        /// A symbolic link with this text.
        case symbolicLink([UInt8])
    }

    /// One file to make.
    public struct Item: Equatable, Sendable {
        /// Where; its directories come earlier in the recipe.
        public let path: Path
        /// What.
        public let content: Content
    }

    /// The files, each directory before what is in it.
    public let items: [Item]

    /// The byte at `offset` of every pattern file: no two pages are alike.
    public static func pattern(at offset: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: offset &* 7 &+ (offset >> 8) &* 13 &+ (offset >> 16) &* 101)
    }

    /// The length of `/big`: three megabytes and a bit, so that no host answers it at once.
    public static let bigLength = 3 * 1024 * 1024 + 17
    /// The number of names in `/many`.
    public static let manyCount = 300

    /// The files for a file system with `traits`.
    public static func standard(_ traits: FileSystemTraits = .posix) -> FileSystemRecipe {
        var items = plain()
        if traits.contains(.symbolicLinks) { items += links() }
        if traits.contains(.rawNames) {
            for name in rawNames { items.append(Item(path: name, content: .file(name.bytes))) }
        }
        return FileSystemRecipe(items: items)
    }

    /// Names that only a file system of bytes can hold; each file holds its own path.
    static let rawNames: [Path] = [
        Path([0xFF, 0xFE]), Path([0x61, 0x80, 0xC3]), Path("line\nbreak"), Path("back\\slash"),
        Path("*?:\"<>|"),
    ]

    /// Names that every file system can hold; each file holds its own path.
    static let plainNames: [Path] = [
        "with space", "100%25", "...", "a.b.c", "-dash", "#hash", "ümläut",
    ]

    /// Makes the files in `tree`.
    @Core public func build(in tree: MemoryTree) {
        for item in items {
            switch item.content {
            case .directory: tree.addDirectory(item.path)
            case .file(let bytes): tree.addFile(item.path, contents: bytes)
            case .symbolicLink(let target): tree.addSymbolicLink(item.path, to: target)
            case .patternFile(let length):
                var bytes: [UInt8] = []
                bytes.reserveCapacity(length)
                for offset in 0..<length { bytes.append(FileSystemRecipe.pattern(at: offset)) }
                tree.addFile(item.path, contents: bytes)
            }
        }
    }

    private static func plain() -> [Item] {
        var items = [
            Item(path: "empty", content: .file([])),
            Item(path: "hello", content: .file(Array("Hello, file system!\n".utf8))),
            Item(path: "big", content: .patternFile(length: bigLength)),
            Item(path: "void", content: .directory),
            Item(path: "a", content: .directory),
            Item(path: "a/b", content: .directory),
            Item(path: "a/b/c", content: .directory),
            Item(path: "a/b/c/deep", content: .file(Array("deep".utf8))),
            Item(path: "a/near", content: .file(Array("near".utf8))),
            Item(path: "long", content: .directory),
            Item(path: Path("long").appending(longName), content: .file(Array("long".utf8))),
            Item(path: "many", content: .directory),
        ]
        for name in plainNames { items.append(Item(path: name, content: .file(name.bytes))) }
        for index in 0..<manyCount {
            items.append(Item(path: Path("many/name-" + String(index)), content: .file([])))
        }
        return items
    }

    /// The longest name there can be.
    static let longName = [UInt8](repeating: UInt8(ascii: "n"), count: 255)

    private static func links() -> [Item] {
        var items: [Item] = []
        func link(_ path: Path, _ target: String) {
            items.append(Item(path: path, content: .symbolicLink(Array(target.utf8))))
        }
        items.append(Item(path: "links", content: .directory))
        link("links/file", "../hello")
        link("links/directory", "../a/b")
        link("links/twice", "file")
        link("links/winding", "directory/../../links/./directory//c/deep")
        link("links/dangling", "nothing/here")
        link("links/absolute", "/hello")
        link("links/up", "../../hello")
        link("links/root", "..")
        link("links/self", "self")
        link("links/ping", "pong")
        link("links/pong", "ping")
        link("links/into-file", "../hello/x")
        items.append(Item(path: "chain", content: .directory))
        items.append(Item(path: "chain/0", content: .file(Array("chain".utf8))))
        for index in 1...41 { link(Path("chain/" + String(index)), String(index - 1)) }
        return items
    }
}
