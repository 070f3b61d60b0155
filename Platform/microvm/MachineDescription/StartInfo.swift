/// What a hypervisor hands to a PVH kernel: `hvm_start_info` (xen/arch-x86/hvm/start_info.h).
public struct StartInfo: Equatable, Sendable {
    /// "xEn3" with the top bit set.
    public static let magic: UInt32 = 0x336e_c578
    /// The structure's length in bytes, from version 1 on.
    public static let size = 56

    /// Where the command line is, NUL-terminated; 0 if there is none.
    public let commandLine: UInt64
    /// Where the memory map is: `memoryMapCount` entries of 24 bytes; 0 if there is none.
    public let memoryMap: UInt64
    /// The number of entries.
    public let memoryMapCount: Int

    /// Parses the structure; throws if it is none or too old to hold a memory map.
    public init(parsing bytes: RawSpan) throws(StartInfoError) {
        guard let magic = bytes.load(UInt32.self, at: 0),
            let version = bytes.load(UInt32.self, at: 4),
            let commandLine = bytes.load(UInt64.self, at: 24)
        else { throw .truncated }
        guard magic == StartInfo.magic else { throw .badMagic(magic) }
        guard version >= 1 else { throw .noMemoryMap }
        guard let memoryMap = bytes.load(UInt64.self, at: 40),
            let count = bytes.load(UInt32.self, at: 48)
        else { throw .truncated }
        guard memoryMap != 0, count > 0 else { throw .noMemoryMap }
        self.commandLine = commandLine
        self.memoryMap = memoryMap
        memoryMapCount = Int(count)
    }
}

/// Why a start info is of no use.
public enum StartInfoError: Error, Equatable {
    /// Fewer bytes than the structure has.
    case truncated
    /// The first word is not the magic number.
    case badMagic(UInt32)
    /// Version 0, or an empty map: the amount of memory is unknown.
    case noMemoryMap
}
