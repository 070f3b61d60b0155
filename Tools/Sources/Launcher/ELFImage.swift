import Foundation

/// What a 64-bit little-endian ELF file says about itself (System V ABI, "Object Files").
///
/// Files may come from anywhere: whatever they say is checked, and what is wrong is left out.
struct ELFImage {
    /// A section.
    struct Section: Equatable {
        var name: String
        var type: UInt64
        var flags: UInt64
        var address: UInt64
        var offset: UInt64
        var size: UInt64
        var link: UInt64
    }

    /// A symbol that has a size.
    struct Symbol: Equatable {
        var name: String
        var address: UInt64
        var size: Int
        /// Whether its bytes are in the file, and not only zeros in memory.
        var isInFile: Bool
    }

    private let bytes: [UInt8]
    /// The sections, in order.
    let sections: [Section]

    /// Reads the section table; nil if the file is no such ELF file.
    init?(_ bytes: [UInt8]) {
        self.bytes = bytes
        guard bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2, 1]),
            let table = ELFImage.number(bytes, 0x28, 8), let size = ELFImage.number(bytes, 0x3a, 2),
            let count = ELFImage.number(bytes, 0x3c, 2), size >= 64,
            let names = ELFImage.number(bytes, 0x3e, 2), names < count
        else { return nil }
        var sections: [(name: UInt64, section: Section)] = []
        for index in 0..<count {
            let (header, overflow) = table.addingReportingOverflow(index * size)
            func field(_ offset: UInt64, _ size: UInt64) -> UInt64? {
                overflow ? nil : ELFImage.number(bytes, header &+ offset, size)
            }
            guard let name = field(0, 4), let type = field(4, 4), let flags = field(8, 8),
                let address = field(16, 8), let offset = field(24, 8), let size = field(32, 8),
                let link = field(40, 4), field(56, 8) != nil
            else { return nil }
            sections.append(
                (
                    name,
                    Section(
                        name: "", type: type, flags: flags, address: address, offset: offset,
                        size: size, link: link)
                ))
        }
        let strings = sections[Int(names)].section
        self.sections = sections.map { entry in
            var section = entry.section
            section.name = ELFImage.text(bytes, strings, entry.name)
            return section
        }
    }

    /// The functions and objects of the symbol table, one for each address.
    var symbols: [Symbol] {
        guard let (entries, strings) = table(ofType: 2, of: 24) else { return [] }
        var found: [UInt64: Symbol] = [:]
        for entry in entries {
            guard let name = ELFImage.number(bytes, entry, 4),
                let info = ELFImage.number(bytes, entry + 4, 1), info & 15 == 1 || info & 15 == 2,
                let section = ELFImage.number(bytes, entry + 6, 2), section < sections.count,
                let address = ELFImage.number(bytes, entry + 8, 8),
                let size = ELFImage.number(bytes, entry + 16, 8), size > 0, size < 1 << 32
            else { continue }
            found[address] = Symbol(
                name: ELFImage.text(bytes, strings, name), address: address, size: Int(size),
                isInFile: sections[Int(section)].type == 1)
        }
        return found.values.sorted { $0.address < $1.address }
    }

    /// Whether the file tells of an entry by PVH: a note of type 18 in a program header, by which
    /// QEMU knows it, whatever the note's owner.
    var hasPVHEntry: Bool {
        guard let table = ELFImage.number(bytes, 0x20, 8),
            let size = ELFImage.number(bytes, 0x36, 2),
            let count = ELFImage.number(bytes, 0x38, 2)
        else { return false }
        return (0..<count).contains { index in
            let (header, overflow) = table.addingReportingOverflow(index * size)
            guard !overflow, ELFImage.number(bytes, header, 4) == 4,
                let offset = ELFImage.number(bytes, header &+ 8, 8),
                let length = ELFImage.number(bytes, header &+ 32, 8)
            else { return false }
            return hasNote(18, offset, length)
        }
    }

    private func hasNote(_ type: UInt64, _ start: UInt64, _ length: UInt64) -> Bool {
        guard length <= bytes.count, start <= UInt64(bytes.count) - length else { return false }
        var at = start
        // Name and description are each filled up to four bytes.
        while at < start + length, let name = ELFImage.number(bytes, at, 4),
            let description = ELFImage.number(bytes, at + 4, 4)
        {
            if ELFImage.number(bytes, at + 8, 4) == type { return true }
            at += 12 + (name + 3) / 4 * 4 + (description + 3) / 4 * 4
        }
        return false
    }

    /// The shared libraries that a program says it needs.
    var neededLibraries: [String] {
        guard let (entries, strings) = table(ofType: 6, of: 16) else { return [] }
        return entries.compactMap { entry in
            guard ELFImage.number(bytes, entry, 8) == 1,
                let name = ELFImage.number(bytes, entry + 8, 8)
            else { return nil }
            return ELFImage.text(bytes, strings, name)
        }
    }

    /// Where the entries of the first table of a type are, each of `size` bytes, and the section of
    /// its strings. An entry may lie outside of the file.
    private func table(
        ofType type: UInt64, of size: UInt64
    ) -> (entries: [UInt64], strings: Section)? {
        guard let table = sections.first(where: { $0.type == type }), table.link < sections.count,
            table.size <= bytes.count
        else { return nil }
        let entries = (0..<table.size / size).compactMap { index in
            let (entry, overflow) = table.offset.addingReportingOverflow(index * size)
            return overflow ? nil : entry
        }
        return (entries, sections[Int(table.link)])
    }

    /// Whether both are one program, with its symbols or without: the same entry, and the same bytes
    /// in every section that is loaded.
    func isSameProgram(as other: ELFImage) -> Bool {
        let (mine, theirs) = (loaded, other.loaded)
        guard mine.contains(where: { $0.flags & 4 != 0 }), mine.count == theirs.count,
            ELFImage.number(bytes, 0x18, 8) == ELFImage.number(other.bytes, 0x18, 8)
        else { return false }
        return zip(mine, theirs).allSatisfy { own, their in
            own.address == their.address && own.size == their.size && own.type == their.type
                && content(of: own) == other.content(of: their)
        }
    }

    private var loaded: [Section] { sections.filter { $0.flags & 2 != 0 && $0.size > 0 } }

    /// A section's bytes; none if it is outside the file or has only zeros in memory.
    private func content(of section: Section) -> ArraySlice<UInt8> {
        guard section.type != 8, section.size <= bytes.count,
            section.offset <= UInt64(bytes.count) - section.size
        else { return [] }
        return bytes[Int(section.offset)..<Int(section.offset + section.size)]
    }

    /// An unsigned number in the file; nil outside it.
    static func number(_ bytes: [UInt8], _ offset: UInt64, _ size: UInt64) -> UInt64? {
        guard size <= bytes.count, offset <= UInt64(bytes.count) - size else { return nil }
        return bytes[Int(offset)..<Int(offset + size)].reversed()
            .reduce(0) { $0 << 8 | UInt64($1) }
    }

    private static func text(_ bytes: [UInt8], _ table: Section, _ offset: UInt64) -> String {
        guard offset < table.size, table.offset < bytes.count,
            table.size <= UInt64(bytes.count) - table.offset
        else { return "" }
        let text = bytes[Int(table.offset + offset)..<Int(table.offset + table.size)]
        return String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
    }
}
