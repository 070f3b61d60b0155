// Embedded Swift has no weak references; a guest needs no device to play with.
#if !hasFeature(Embedded)
public import ToroCore
import ToroVirtio

/// The host's side of virtio-fs: serves a ``MemoryTree`` over FUSE to a driver under test, and
/// lies where a test tells it to.
///
/// Written after `linux/fuse.h` (protocol 7.31), with no code of the driver's.
@Core public final class MockFUSEServer {
    /// A reply on its way.
    public struct Reply: Equatable, Sendable {
        /// The operation it answers (`enum fuse_opcode`).
        public let opcode: UInt32
        /// Its header and body.
        public var bytes: [UInt8]
        /// How many bytes the used ring says were written; as many as there are if nil.
        public var written: Int?
        /// How often the chain is given back.
        public var copies = 1
    }

    /// The device it is behind.
    public let device: MockVirtioDevice
    /// What it serves.
    public let tree: MemoryTree
    /// How long names and attributes are good for.
    public var validity = TimeSpan.zero
    /// Set in every cookie of a directory, as a file system with hashed names does.
    public var cookieBits: UInt64 = 0
    /// Changes replies before they are sent.
    public var mangle: (@Core (inout Reply) -> Void)?
    /// Keeps requests unanswered until ``release(reversed:)``.
    public var isHolding = false
    /// Keeps what comes through the high-priority queue, FORGET, until ``release(reversed:)``.
    public var holdsForgets = false

    /// The references each node has, as LOOKUP and FORGET count them.
    public private(set) var references: [UInt64: Int] = [:]
    /// The handles that are open.
    public private(set) var handles: [UInt64: MemoryNode] = [:]
    /// How often each operation was asked for.
    public private(set) var operations: [UInt32: Int] = [:]
    /// What the driver did that FUSE does not allow.
    public private(set) var violations: [String] = []
    /// The requests that are held.
    public var heldCount: Int { held.count }

    private var held: [(chain: MockChain, queue: Int)] = []
    private var nodes: [UInt64: MemoryNode] = [:]
    private var nextHandle: UInt64 = 100

    /// A server of `tree` under the tag `tag`.
    public init(_ tree: MemoryTree, tag: String = "site") {
        self.tree = tree
        let name = Array(tag.utf8)
        let padding = [UInt8](repeating: 0, count: 36 - name.count)
        device = MockVirtioDevice(
            .fileSystem, queueSizes: [128, 128], configuration: name + padding + [1, 0, 0, 0])
        nodes[1] = tree.root
        device.onNotify = { [unowned self] queue in serve(queue) }
    }

    /// Answers what was held, in the order of asking or the other way round.
    public func release(reversed: Bool = false) {
        isHolding = false
        let all = reversed ? held.reversed() : held
        held.removeAll()
        for (chain, queue) in all { answer(chain, queue) }
    }

    private func serve(_ queue: Int) {
        while let chain = device.take(queue) {
            if isHolding || holdsForgets && queue == 0 {
                held.append((chain, queue))
            } else {
                answer(chain, queue)
            }
        }
    }

    private func answer(_ chain: MockChain, _ queue: Int) {
        guard let request = FUSERequestBytes(chain.readable) else {
            violations.append("a request of " + String(chain.readable.count) + " bytes")
            return device.finish(chain, of: queue, [])
        }
        operations[request.opcode, default: 0] += 1
        let room = MockFUSEServer.room(for: request)
        let isExact = room.map { $0 == chain.capacity } ?? true
        if !isExact {
            violations.append(
                "operation " + String(request.opcode) + " with room for "
                    + String(chain.capacity) + " bytes")
        }
        let result = isExact ? perform(request) : .failure(.input)
        if request.opcode == 2 || request.opcode == 42 {
            return device.finish(chain, of: queue, [])
        }
        var bytes = FUSEBytes()
        switch result {
        case .success(let body):
            bytes.add(UInt32(16 + body.count), UInt32(0))
            bytes.add(request.unique)
            bytes.all += body
        case .failure(let error):
            bytes.add(UInt32(16), UInt32(bitPattern: -error.number))
            bytes.add(request.unique)
        }
        if bytes.all.count > chain.capacity { violations.append("no room for the reply") }
        var reply = Reply(opcode: request.opcode, bytes: bytes.all)
        mangle?(&reply)
        guard reply.copies > 0 else { return }
        device.finish(chain, of: queue, reply.bytes, written: reply.written)
        for _ in 1..<reply.copies {
            device.queues[queue]?.give(head: UInt32(chain.head), written: UInt32(reply.bytes.count))
        }
    }

    /// The room for a reply that a request asks for, header included; nil if it does not say. A
    /// daemon may trust the descriptors instead of the request, so they must agree: virtiofsd 1.13
    /// fills all of a READ's room, and then answers EIO.
    private static func room(for request: FUSERequestBytes) -> Int? {
        switch request.opcode {
        case 1: 16 + 128
        case 2, 42: 0
        case 3: 16 + 104
        case 14, 27: 16 + 16
        case 15, 28: 16 + Int(request.number(16) & 0xffff_ffff)
        case 17: 16 + 80
        case 18, 29: 16
        case 26: 16 + 64
        default: nil
        }
    }

    // MARK: Operations

    /// A Linux error number.
    private struct Failure: Error {
        let number: Int32
        static let noEntry = Failure(number: 2)
        static let input = Failure(number: 5)
        static let badHandle = Failure(number: 9)
        static let access = Failure(number: 13)
        static let invalid = Failure(number: 22)
        static let unknown = Failure(number: 38)
    }

    private func perform(_ request: FUSERequestBytes) -> Result<[UInt8], Failure> {
        if request.opcode == 26 { return .success(initialize()) }
        if request.opcode == 42 { return forget(request) }
        guard let node = nodes[request.node] else { return .failure(.noEntry) }
        switch request.opcode {
        case 1: return lookup(request.name, in: node)
        case 3: return attributes(request, node)
        case 5:
            return node.kind == .symbolicLink ? .success(node.contents) : .failure(.invalid)
        case 14, 27: return open(node)
        case 15: return read(request)
        case 28: return readDirectory(request)
        case 17: return .success(statistics())
        case 18, 29:
            if handles.removeValue(forKey: request.number(0)) == nil {
                violations.append("release of a handle that is not open")
            }
            return .success([])
        default: return .failure(.unknown)
        }
    }

    private func initialize() -> [UInt8] {
        var out = FUSEBytes()
        // max_readahead; flags: ASYNC_READ, MAX_PAGES; background; max_write; time_gran; max_pages
        out.add(UInt32(7), UInt32(31), UInt32(1 << 17), UInt32(1 | 1 << 22))
        out.add(UInt32(12 | 9 << 16), UInt32(1 << 20), UInt32(1), UInt32(256))
        out.all += [UInt8](repeating: 0, count: 64 - out.all.count)
        return out.all
    }

    private func lookup(_ name: [UInt8], in node: MemoryNode) -> Result<[UInt8], Failure> {
        guard node.kind == .directory, let child = node.child(name[...]) else {
            return .failure(.noEntry)
        }
        nodes[child.identity] = child
        references[child.identity, default: 0] += 1
        var out = FUSEBytes()
        out.add(child.identity, 0, validity.nanoseconds / 1_000_000_000)
        out.add(validity.nanoseconds / 1_000_000_000)
        let rest = UInt32(validity.nanoseconds % 1_000_000_000)
        out.add(rest, rest)
        out.add(child.attributes)
        return .success(out.all)
    }

    /// GETATTR, of the open file if FUSE_GETATTR_FH is set.
    private func attributes(
        _ request: FUSERequestBytes, _ node: MemoryNode
    ) -> Result<[UInt8], Failure> {
        guard request.number(0) & 1 != 0 else { return .success(attributesReply(node)) }
        guard let open = handles[request.number(8)], open === node else {
            return .failure(.badHandle)
        }
        return .success(attributesReply(open))
    }

    private func attributesReply(_ node: MemoryNode) -> [UInt8] {
        var out = FUSEBytes()
        out.add(validity.nanoseconds / 1_000_000_000)
        out.add(UInt32(validity.nanoseconds % 1_000_000_000), UInt32(0))
        out.add(node.attributes)
        return out.all
    }

    private func open(_ node: MemoryNode) -> Result<[UInt8], Failure> {
        guard node.permissions != 0 else { return .failure(.access) }
        nextHandle += 1
        handles[nextHandle] = node
        var out = FUSEBytes()
        out.add(nextHandle, 0)
        return .success(out.all)
    }

    private func read(_ request: FUSERequestBytes) -> Result<[UInt8], Failure> {
        guard let node = handles[request.number(0)] else { return .failure(.badHandle) }
        let start = Int(clamping: request.number(8))
        let size = Int(request.number(16) & 0xffff_ffff)
        // As pread(2) does.
        guard request.number(8) <= UInt64(Int64.max) - UInt64(size) else {
            return .failure(.invalid)
        }
        guard start < node.contents.count else { return .success([]) }
        return .success(Array(node.contents[start...].prefix(size)))
    }

    private func readDirectory(_ request: FUSERequestBytes) -> Result<[UInt8], Failure> {
        guard let node = handles[request.number(0)] else { return .failure(.badHandle) }
        let cookie = request.number(8)
        let start = cookie == 0 ? 0 : Int(clamping: cookie ^ cookieBits)
        let size = Int(request.number(16) & 0xffff_ffff)
        var names: [(name: [UInt8], type: UInt32, node: UInt64)] = [
            ([0x2e], 4, node.identity), ([0x2e, 0x2e], 4, 1),
        ]
        for child in node.children {
            let type: UInt32 =
                switch child.node.kind {
                case .regular: 8
                case .directory: 4
                case .symbolicLink: 10
                case .other: 1
                }
            names.append((child.name, type, child.node.identity))
        }
        var out = FUSEBytes()
        for (index, entry) in names.enumerated().dropFirst(start) {
            var one = FUSEBytes()
            one.add(entry.node, UInt64(index + 1) ^ cookieBits)
            one.add(UInt32(entry.name.count), entry.type)
            one.all += entry.name
            one.all += [UInt8](repeating: 0, count: (8 - one.all.count % 8) % 8)
            if out.all.count + one.all.count > size { break }
            out.all += one.all
        }
        return .success(out.all)
    }

    private func statistics() -> [UInt8] {
        var out = FUSEBytes()
        out.add(UInt64(1000), 500, 400)
        out.add(UInt64(100), 50)
        out.add(UInt32(4096), UInt32(255), UInt32(4096), UInt32(0))
        out.all += [UInt8](repeating: 0, count: 80 - out.all.count)
        return out.all
    }

    private func forget(_ request: FUSERequestBytes) -> Result<[UInt8], Failure> {
        for index in 0..<Int(request.number(0) & 0xffff_ffff) {
            let node = request.number(8 + 16 * index)
            let left = (references[node] ?? 0) - Int(clamping: request.number(16 + 16 * index))
            if left < 0 { violations.append("forgot a node more often than it was looked up") }
            references[node] = left > 0 ? left : nil
            if left == 0, node != 1 { nodes[node] = nil }
        }
        return .success([])
    }
}

/// A request as it lies in memory (`struct fuse_in_header`, arguments).
struct FUSERequestBytes {
    let opcode: UInt32
    let unique: UInt64
    let node: UInt64
    private let body: ArraySlice<UInt8>

    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 40 else { return nil }
        body = bytes.dropFirst(40)
        func word(_ offset: Int, _ size: Int) -> UInt64 {
            bytes[offset..<offset + size].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard Int(word(0, 4)) == bytes.count else { return nil }
        opcode = UInt32(word(4, 4))
        unique = word(8, 8)
        node = word(16, 8)
    }

    /// The bytes before the NUL.
    var name: [UInt8] { Array(body.prefix { $0 != 0 }) }

    /// The eight bytes at `offset` of the arguments, less those that are not there.
    func number(_ offset: Int) -> UInt64 {
        body.dropFirst(offset).prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}

/// Bytes as FUSE structures want them.
struct FUSEBytes {
    var all: [UInt8] = []

    mutating func add(_ words: UInt64...) {
        for word in words {
            for shift in stride(from: 0, to: 64, by: 8) {
                all.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
            }
        }
    }

    mutating func add(_ words: UInt32...) {
        for word in words {
            for shift in stride(from: 0, to: 32, by: 8) {
                all.append(UInt8(truncatingIfNeeded: word >> UInt32(shift)))
            }
        }
    }

    /// `struct fuse_attr`.
    mutating func add(_ attributes: FileAttributes) {
        let seconds = UInt64(bitPattern: attributes.modified.seconds)
        add(attributes.identity, attributes.size, (attributes.size + 511) / 512)
        add(seconds, seconds, seconds)
        let fraction = attributes.modified.nanoseconds
        let type: UInt32 =
            switch attributes.kind {
            case .regular: 0o100000
            case .directory: 0o040000
            case .symbolicLink: 0o120000
            case .other: 0o010000
            }
        add(fraction, fraction, fraction, type | UInt32(attributes.permissions))
        add(UInt32(1), UInt32(0), UInt32(0), UInt32(0), UInt32(4096), UInt32(0))
    }
}
#endif
