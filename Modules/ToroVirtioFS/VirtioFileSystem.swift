public import ToroCore

/// A folder of the host, shared over virtio-fs (VIRTIO 1.2, section 5.11): the read side.
///
/// Names are looked up one at a time, and symbolic links are resolved here, so that nothing the
/// host's tree holds leads out of the share. Names and attributes are remembered for as long as
/// the host allows.
@Core public final class VirtioFileSystem: FileSystem {
    let session: FUSESession
    private let root: FUSENode
    private var names = NameCache()

    init(_ session: FUSESession, root: FUSENode) {
        self.session = session
        self.root = root
    }

    /// The most requests that were in flight at a time.
    public var peakRequestsInFlight: Int { session.channel.peakInFlight }

    /// See ``ToroCore/FileSystem``; answered from memory while the host allows.
    public func attributes(at path: Path) async throws(FileError) -> FileAttributes {
        try await attributes(of: resolve(path, followLast: true))
    }

    /// See ``ToroCore/FileSystem``. Devices and pipes are refused: they could block the host.
    public func open(_ path: Path) async throws(FileError) -> VirtioFile {
        let node = try await resolve(path, followLast: true)
        let attributes = try await attributes(of: node)
        switch attributes.kind {
        case .regular: break
        case .directory: throw .isADirectory
        // Opening a device or a pipe could block the host's daemon.
        case .symbolicLink, .other: throw .permissionDenied
        }
        let handle = try await session.open(node, directory: false)
        return VirtioFile(session, node, handle, attributes)
    }

    /// See ``ToroCore/FileSystem``.
    public func openDirectory(_ path: Path) async throws(FileError) -> VirtioDirectory {
        let node = try await resolve(path, followLast: true)
        guard node.attributes.kind == .directory else { throw .notADirectory }
        return VirtioDirectory(session, node, try await session.open(node, directory: true))
    }

    /// See ``ToroCore/FileSystem``.
    public func readLink(_ path: Path) async throws(FileError) -> [UInt8] {
        let node = try await resolve(path, followLast: false)
        guard node.attributes.kind == .symbolicLink else { throw .invalidPath }
        return try await session.readLink(node)
    }

    /// See ``ToroCore/FileSystem``; asks the host each time.
    public func statistics() async throws(FileError) -> FileSystemStatistics {
        try await session.statistics(root)
    }

    private func attributes(of node: FUSENode) async throws(FileError) -> FileAttributes {
        if let known = node.attributes(at: session.clock.now) { return known }
        let fresh = try await session.getAttributes(node.id)
        node.update(fresh, now: session.clock.now)
        return fresh.attributes
    }

    private func resolve(_ path: Path, followLast: Bool) async throws(FileError) -> FUSENode {
        var walk = try PathWalk(path, from: root, followLast: followLast)
        while let name = try walk.next() {
            let node = try await child(name, of: walk.place)
            if try walk.arrive(at: node) {
                try walk.follow(try await session.readLink(node))
            }
        }
        return walk.place
    }

    private func child(
        _ name: ArraySlice<UInt8>, of parent: FUSENode
    ) async throws(FileError) -> FUSENode {
        if let known = names.find(name, in: parent, at: session.clock.now) { return known }
        let (node, validity) = try await session.lookup(name, in: parent)
        if validity > .zero {
            names.insert(name, in: parent, node, until: session.clock.now + validity)
        }
        return node
    }
}

/// Names that were looked up lately: a table of fixed size in which a new name takes the place of
/// an old one.
@Core struct NameCache {
    private struct Entry {
        /// Held, so that the host does not give its number to another directory meanwhile.
        var parent: FUSENode
        var name: [UInt8]
        var node: FUSENode
        var validUntil: Instant
    }

    private static var size: Int { 256 }
    private var entries = [Entry?](repeating: nil, count: NameCache.size)

    func find(
        _ name: ArraySlice<UInt8>, in parent: FUSENode, at now: Instant
    ) -> FUSENode? {
        guard let entry = entries[Self.place(name, parent.id)], entry.parent.id == parent.id,
            now < entry.validUntil, entry.name.elementsEqual(name)
        else { return nil }
        return entry.node
    }

    mutating func insert(
        _ name: ArraySlice<UInt8>, in parent: FUSENode, _ node: FUSENode,
        until: Instant
    ) {
        entries[Self.place(name, parent.id)] = Entry(
            parent: parent, name: Array(name), node: node, validUntil: until)
    }

    /// FNV-1a over the name and its directory.
    private static func place(_ name: ArraySlice<UInt8>, _ parent: UInt64) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ parent
        for byte in name { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int(truncatingIfNeeded: (hash ^ hash >> 32) & UInt64(size - 1))
    }
}
