public import ToroCore

/// A folder of the host, shared over virtio-fs (VIRTIO 1.2, section 5.11): the read side.
///
/// Names are looked up one at a time, and symbolic links are resolved here, so that nothing the
/// host's tree holds leads out of the share. Names and attributes are remembered for as long as
/// the host allows.
@Core public final class VirtioFileSystem: FileSystem {
    let session: FUSESession
    private let root: FUSENode
    private let names = NameCache()

    init(_ session: FUSESession) {
        self.session = session
        root = FUSENode()
    }

    /// Begins a session with the host.
    @export(interface)
    static func start(
        _ channel: FUSEChannel, _ clock: any Timekeeper
    ) async throws(FileError) -> VirtioFileSystem {
        let session = FUSESession(channel, clock: clock)
        try await session.run(FUSEStart())
        return VirtioFileSystem(session)
    }

    /// The most requests that were in flight at a time.
    public var peakRequestsInFlight: Int { session.channel.peakInFlight }

    /// See ``ToroCore/FileSystem``; answered from memory while the host allows.
    @export(interface)
    public func attributes(at path: Path) async throws(FileError) -> FileAttributes {
        let walk = try PathWalk(path, from: root, names, .attributes)
        try await session.run(walk)
        return walk.place.attributes
    }

    /// See ``ToroCore/FileSystem``. Devices and pipes are refused: they could block the host.
    @export(interface)
    public func open(_ path: Path) async throws(FileError) -> VirtioFile {
        let walk = try PathWalk(path, from: root, names, .open)
        try await session.run(walk)
        return VirtioFile(try walk.result())
    }

    /// See ``ToroCore/FileSystem``.
    @export(interface)
    public func openDirectory(_ path: Path) async throws(FileError) -> VirtioDirectory {
        let walk = try PathWalk(path, from: root, names, .openDirectory)
        try await session.run(walk)
        return VirtioDirectory(try walk.result())
    }

    /// See ``ToroCore/FileSystem``.
    @export(interface)
    public func readLink(_ path: Path) async throws(FileError) -> [UInt8] {
        let walk = try PathWalk(path, from: root, names, .readLink)
        try await session.run(walk)
        return walk.target
    }

    /// See ``ToroCore/FileSystem``; asks the host each time.
    @export(interface)
    public func statistics() async throws(FileError) -> FileSystemStatistics {
        let question = FUSEStatistics(root)
        try await session.run(question)
        return try question.result()
    }
}

/// Names that were looked up lately: a table of fixed size in which a new name takes the place of
/// an old one.
@Core final class NameCache {
    private final class Entry {
        /// Held, so that the host does not give its number to another directory meanwhile.
        let parent: FUSENode
        let name: [UInt8]
        let node: FUSENode
        let validUntil: Instant

        init(_ parent: FUSENode, _ name: [UInt8], _ node: FUSENode, _ validUntil: Instant) {
            self.parent = parent
            self.name = name
            self.node = node
            self.validUntil = validUntil
        }
    }

    private static var size: Int { 256 }
    private var entries = ObjectTable<Entry>(count: NameCache.size)

    func find(
        _ name: ArraySlice<UInt8>, in parent: FUSENode, at now: Instant
    ) -> FUSENode? {
        guard let entry = entries[Self.place(name, parent.id)], entry.parent.id == parent.id,
            now < entry.validUntil, entry.name.elementsEqual(name)
        else { return nil }
        return entry.node
    }

    func insert(
        _ name: ArraySlice<UInt8>, in parent: FUSENode, _ node: FUSENode,
        until: Instant
    ) {
        entries[Self.place(name, parent.id)] = Entry(parent, Array(name), node, until)
    }

    /// FNV-1a over the name and its directory.
    private static func place(_ name: ArraySlice<UInt8>, _ parent: UInt64) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ parent
        for byte in name { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int(truncatingIfNeeded: (hash ^ hash >> 32) & UInt64(size - 1))
    }
}
