import ToroCore

/// The operations of the FUSE protocol this unit uses (`linux/fuse.h`, `enum fuse_opcode`).
enum FUSEOpcode: UInt32 {
    case lookup = 1
    case forget = 2
    case getAttributes = 3
    case readLink = 5
    case open = 14
    case read = 15
    case statFS = 17
    case release = 18
    case initialize = 26
    case openDirectory = 27
    case readDirectory = 28
    case releaseDirectory = 29
    case batchForget = 42
}

/// Sizes and numbers of `linux/fuse.h`, protocol 7.31.
enum FUSE {
    static var requestHeaderSize: Int { 40 }
    static var replyHeaderSize: Int { 16 }
    static var attributesSize: Int { 88 }
    static var entrySize: Int { 128 }
    /// FUSE_GETATTR_FH.
    static var getAttributesOfHandle: UInt32 { 1 }
    static var rootNode: UInt64 { 1 }
    static var majorVersion: UInt32 { 7 }
    static var minorVersion: UInt32 { 31 }
    /// FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_PARALLEL_DIROPS, FUSE_MAX_PAGES.
    static var wantedFlags: UInt32 { 1 << 0 | 1 << 5 | 1 << 18 | maximumPagesFlag }
    static var maximumPagesFlag: UInt32 { 1 << 22 }
}

/// A request being written: its header (`struct fuse_in_header`), its arguments, and behind them
/// room for the reply.
struct FUSEMessage: ~Copyable {
    private var buffer: IOBuffer
    /// The number by which the reply is known.
    let unique: UInt64
    /// The bytes the reply may have behind its header.
    let replyCapacity: Int

    init(
        _ opcode: FUSEOpcode, node: UInt64, unique: UInt64, arguments: Int, reply: Int
    ) throws(OutOfMemory) {
        let length = FUSE.requestHeaderSize + arguments
        buffer = try IOBuffer(capacity: length + FUSE.replyHeaderSize + reply)
        self.unique = unique
        replyCapacity = reply
        append(UInt32(clamping: length))
        append(opcode.rawValue)
        append(unique)
        append(node)
        appendZeros(16)  // user, group, process, padding
    }

    /// The bytes written so far.
    var count: Int { buffer.count }

    /// Adds an integer, little-endian.
    mutating func append<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
        buffer.append(littleEndian: value)
    }

    /// Adds bytes, as many as there is room for.
    mutating func append(_ bytes: RawSpan) { buffer.append(bytes) }

    /// Adds `count` zero bytes.
    mutating func appendZeros(_ count: Int) {
        for _ in 0..<count / 4 { append(UInt32(0)) }
        for _ in 0..<count % 4 { append(UInt8(0)) }
    }

    /// The bytes.
    consuming func take() -> IOBuffer { buffer }
}

extension RawSpan {
    /// The little-endian integer at `offset`, nil if it does not lie wholly in the span.
    func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T? {
        let size = T.bitWidth / 8
        guard offset >= 0, size <= byteCount, offset <= byteCount - size else { return nil }
        // SAFETY: the range was just checked; every bit pattern is an integer.
        return unsafe T(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// The bytes of a range, nil if it does not lie wholly in the span.
    func bytes(_ offset: Int, _ count: Int) -> [UInt8]? {
        guard offset >= 0, count >= 0, count <= byteCount, offset <= byteCount - count else {
            return nil
        }
        var result: [UInt8] = []
        result.reserveCapacity(count)
        for index in offset..<offset + count {
            // SAFETY: the range was just checked.
            result.add(unsafe unsafeLoad(fromByteOffset: index, as: UInt8.self))
        }
        return result
    }
}

/// What a reply begins with (`struct fuse_out_header`).
struct FUSEReplyHeader {
    var length: UInt32
    var error: Int32
    var unique: UInt64

    init?(parsing span: RawSpan) {
        guard let length = span.load(UInt32.self, at: 0),
            let error = span.load(Int32.self, at: 4),
            let unique = span.load(UInt64.self, at: 8)
        else { return nil }
        self.length = length
        self.error = error
        self.unique = unique
    }
}

/// A file's attributes and how long they are good for (`struct fuse_attr_out`).
struct FUSEAttributes {
    var attributes: FileAttributes
    var validity: TimeSpan

    /// Parses `struct fuse_attr` at `offset`, with the validity the caller has parsed; nil if it
    /// is cut short or no attributes of a file.
    init?(parsing span: RawSpan, at offset: Int, seconds: UInt64, nanoseconds: UInt32) {
        guard let inode = span.load(UInt64.self, at: offset),
            let size = span.load(UInt64.self, at: offset + 8),
            let modified = span.load(UInt64.self, at: offset + 32),
            let fraction = span.load(UInt32.self, at: offset + 52),
            let mode = span.load(UInt32.self, at: offset + 60),
            span.byteCount - offset >= FUSE.attributesSize, size <= UInt64(Int64.max),
            let kind = FileKind(mode: mode)
        else { return nil }
        attributes = FileAttributes(
            identity: inode, kind: kind, size: size,
            modified: WallTime(seconds: Int64(bitPattern: modified), nanoseconds: fraction),
            permissions: UInt16(mode & 0o7777))
        validity = TimeSpan(validity: seconds, nanoseconds)
    }

    /// Parses `struct fuse_attr_out`.
    init?(parsing span: RawSpan) {
        guard let seconds = span.load(UInt64.self, at: 0),
            let nanoseconds = span.load(UInt32.self, at: 8)
        else { return nil }
        self.init(parsing: span, at: 16, seconds: seconds, nanoseconds: nanoseconds)
    }
}

extension FileKind {
    /// The kind in the type bits of `st_mode`; nil for bits that mean nothing.
    init?(mode: UInt32) {
        switch mode & 0o170000 {
        case 0o100000: self = .regular
        case 0o040000: self = .directory
        case 0o120000: self = .symbolicLink
        case 0o010000, 0o020000, 0o060000, 0o140000: self = .other
        default: return nil
        }
    }

    /// The kind of a directory entry (`d_type`).
    init(entryType: UInt32) {
        switch entryType {
        case 8: self = .regular
        case 4: self = .directory
        case 10: self = .symbolicLink
        default: self = .other
        }
    }
}

/// What LOOKUP answers (`struct fuse_entry_out`).
struct FUSEEntry {
    var node: UInt64
    var validity: TimeSpan
    var attributes: FUSEAttributes

    init?(parsing span: RawSpan) {
        guard span.byteCount >= FUSE.entrySize,
            let node = span.load(UInt64.self, at: 0), node != 0,
            let entrySeconds = span.load(UInt64.self, at: 16),
            let attributeSeconds = span.load(UInt64.self, at: 24),
            let entryNanoseconds = span.load(UInt32.self, at: 32),
            let attributeNanoseconds = span.load(UInt32.self, at: 36),
            let attributes = FUSEAttributes(
                parsing: span, at: 40, seconds: attributeSeconds, nanoseconds: attributeNanoseconds
            )
        else { return nil }
        self.node = node
        self.attributes = attributes
        validity = TimeSpan(validity: entrySeconds, entryNanoseconds)
    }
}

extension TimeSpan {
    /// How long the host says that something is good for; 136 years (2^32 s) at most.
    fileprivate init(validity seconds: UInt64, _ nanoseconds: UInt32) {
        self = .seconds(min(seconds, 1 << 32))
        self.nanoseconds += UInt64(nanoseconds)
    }
}

/// A directory entry (`struct fuse_dirent`).
struct FUSEDirectoryEntry {
    var offset: UInt64
    var entry: DirectoryEntry
    /// Where the next entry begins.
    var end: Int

    /// Parses the entry at `position`; nil if it is cut short or its name is no name.
    init?(parsing span: RawSpan, at position: Int) {
        guard let offset = span.load(UInt64.self, at: position + 8),
            let length = span.load(UInt32.self, at: position + 16),
            let type = span.load(UInt32.self, at: position + 20),
            length > 0, length <= UInt32(Path.maximumNameLength),
            let name = span.bytes(position + 24, Int(length)),
            !name.contains(0), !name.contains(UInt8(ascii: "/"))
        else { return nil }
        self.offset = offset
        entry = DirectoryEntry(name: name, kind: FileKind(entryType: type))
        end = position + (24 + Int(length) + 7) & ~7
    }

    /// Whether it is `.` or `..`.
    var isDot: Bool {
        let dot = UInt8(ascii: ".")
        return entry.name.count <= 2 && entry.name.allSatisfy { $0 == dot }
    }
}

extension FileError {
    /// The error behind a Linux error number.
    init(errno code: Int32) {
        switch code {
        case 2: self = .notFound
        case 20: self = .notADirectory
        case 21: self = .isADirectory
        case 1, 13: self = .permissionDenied
        case 30: self = .readOnly
        case 18: self = .escapesRoot
        case 40: self = .tooManyLinks
        case 36: self = .nameTooLong
        case 22: self = .invalidPath
        case 9, 116: self = .stale
        case 23, 24: self = .tooManyOpenFiles
        case 12: self = .outOfMemory
        default: self = .host(code: code)
        }
    }
}
