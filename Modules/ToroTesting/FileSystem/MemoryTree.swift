import ToroCore

/// One file, directory or symbolic link of a ``MemoryTree``.
///
/// Tests may change it at any time, as another process on a real host would.
@Core public final class MemoryNode {
    /// The number that tells it from the others of its tree; the root has 1.
    public let identity: UInt64
    /// What it is.
    public let kind: FileKind
    /// The bytes of a regular file, or the text of a symbolic link.
    public var contents: [UInt8]
    /// When its bytes were last changed.
    public var modified: WallTime
    /// The permission bits. `.permissionDenied` for everybody if none is set.
    public var permissions: UInt16
    /// The names in a directory, in the order they were added.
    public fileprivate(set) var children: [(name: [UInt8], node: MemoryNode)] = []

    init(
        identity: UInt64, kind: FileKind, contents: [UInt8], modified: WallTime,
        permissions: UInt16
    ) {
        self.identity = identity
        self.kind = kind
        self.contents = contents
        self.modified = modified
        self.permissions = permissions
    }

    /// Its attributes now.
    public var attributes: FileAttributes {
        FileAttributes(
            identity: identity, kind: kind, size: UInt64(contents.count), modified: modified,
            permissions: permissions)
    }

    /// The child of that name. O(n) in the number of children.
    public func child(_ name: ArraySlice<UInt8>) -> MemoryNode? {
        for child in children where child.name[...] == name { return child.node }
        return nil
    }
}

/// A tree of files in memory, built by a test.
///
///     let tree = MemoryTree()
///     tree.addFile("/docs/index.html", "<p>hello</p>")
///     tree.addSymbolicLink("/start", to: "docs/index.html")
///     let files = InMemoryFileSystem(tree)
///
/// The builder takes paths literally (no symbolic link is followed, `..` is not understood), makes
/// the directories on the way, and replaces what is there. A wrong path is a mistake in the test
/// and traps.
@Core public final class MemoryTree {
    /// The directory at the top.
    public let root: MemoryNode

    /// The modification time of everything added from now on.
    public var modified = WallTime(seconds: 1_700_000_000)

    private var lastIdentity: UInt64 = 1

    /// An empty tree.
    public init() {
        root = MemoryNode(
            identity: 1, kind: .directory, contents: [], modified: modified, permissions: 0o755)
    }

    /// Adds a regular file with these bytes.
    @discardableResult
    public func addFile(
        _ path: Path, contents: [UInt8], permissions: UInt16 = 0o644
    ) -> MemoryNode {
        add(.regular, path, contents, permissions)
    }

    /// Adds a regular file with the UTF-8 of `text`.
    @discardableResult
    public func addFile(_ path: Path, _ text: String) -> MemoryNode {
        addFile(path, contents: Array(text.utf8))
    }

    /// Adds an empty directory; one that is there stays as it is.
    @discardableResult
    public func addDirectory(_ path: Path, permissions: UInt16 = 0o755) -> MemoryNode {
        if let there = node(at: path), there.kind == .directory { return there }
        return add(.directory, path, [], permissions)
    }

    /// Adds a symbolic link with this text.
    @discardableResult
    public func addSymbolicLink(_ path: Path, to target: [UInt8]) -> MemoryNode {
        add(.symbolicLink, path, target, 0o777)
    }

    /// Adds a symbolic link with the UTF-8 of `target` as its text.
    @discardableResult
    public func addSymbolicLink(_ path: Path, to target: String) -> MemoryNode {
        addSymbolicLink(path, to: Array(target.utf8))
    }

    /// Adds something that is neither file, directory nor link, such as a socket.
    @discardableResult
    public func addOther(_ path: Path) -> MemoryNode { add(.other, path, [], 0o600) }

    /// Takes away what is at `path`, with all below it; nothing happens if there is nothing.
    public func remove(_ path: Path) {
        var names = components(path)
        guard let name = names.popLast(), let parent = walk(names) else { return }
        parent.children.removeAll { $0.name[...] == name }
    }

    /// What is at `path`, taken literally; nil if there is nothing.
    public func node(at path: Path) -> MemoryNode? { walk(components(path)) }

    private func walk(_ names: [ArraySlice<UInt8>]) -> MemoryNode? {
        var node = root
        for name in names {
            guard let next = node.child(name) else { return nil }
            node = next
        }
        return node
    }

    private func components(_ path: Path) -> [ArraySlice<UInt8>] {
        guard let names = try? path.components() else {
            preconditionFailure("the test builds a tree with an invalid path")
        }
        return names
    }

    private func add(
        _ kind: FileKind, _ path: Path, _ contents: [UInt8], _ permissions: UInt16
    ) -> MemoryNode {
        var names = components(path)
        guard let name = names.popLast() else { preconditionFailure("the root is always there") }
        var parent = root
        for step in names {
            if let next = parent.child(step) {
                precondition(next.kind == .directory, "a file is in the way of a directory")
                parent = next
            } else {
                parent = insert(.directory, step, into: parent, [], 0o755)
            }
        }
        return insert(kind, name, into: parent, contents, permissions)
    }

    private func insert(
        _ kind: FileKind, _ name: ArraySlice<UInt8>, into parent: MemoryNode, _ contents: [UInt8],
        _ permissions: UInt16
    ) -> MemoryNode {
        lastIdentity += 1
        let node = MemoryNode(
            identity: lastIdentity, kind: kind, contents: contents, modified: modified,
            permissions: permissions)
        for index in parent.children.indices where parent.children[index].name[...] == name {
            parent.children[index].node = node
            return node
        }
        parent.children.append((name: Array(name), node: node))
        return node
    }
}
