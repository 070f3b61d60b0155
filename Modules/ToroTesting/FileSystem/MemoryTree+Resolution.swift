import ToroCore

extension MemoryTree {
    /// What is at `path` by the rules of ``ToroCore/FileSystem``: links are followed inside the
    /// tree, the last one only if `followLast`.
    public func resolve(_ path: Path, followLast: Bool = true) throws(FileError) -> MemoryNode {
        var steps: [ArraySlice<UInt8>] = try path.components().reversed()
        var directories: [MemoryNode] = []
        var links = 0
        var mustBeDirectory = path.namesDirectory
        while let name = steps.popLast() {
            let top = directories.last ?? root
            guard top.kind == .directory else { throw .notADirectory }
            if Array(name) == Array("..".utf8) {
                guard directories.popLast() != nil else { throw .escapesRoot }
                continue
            }
            guard top.permissions & 0o111 != 0 else { throw .permissionDenied }
            guard let next = top.child(name) else { throw .notFound }
            let isFollowed = followLast || mustBeDirectory || !steps.isEmpty
            guard next.kind == .symbolicLink, isFollowed else {
                directories.append(next)
                continue
            }
            links += 1
            guard links <= 40 else { throw .tooManyLinks }
            guard let first = next.contents.first else { throw .notFound }
            guard first != UInt8(ascii: "/") else { throw .escapesRoot }
            let target = Path(next.contents)
            if steps.isEmpty, target.namesDirectory { mustBeDirectory = true }
            steps.append(contentsOf: try target.components().reversed())
        }
        let end = directories.last ?? root
        guard !mustBeDirectory || end.kind == .directory else { throw .notADirectory }
        return end
    }
}

extension Path {
    /// Whether only a directory can be meant: the path ends with a slash, or with `.` behind one.
    fileprivate var namesDirectory: Bool {
        bytes.last == UInt8(ascii: "/") || bytes.suffix(2) == Array("/.".utf8)
    }
}
