import Foundation

/// The manifest inside an image: an ELF note of its own type in the section `.note.toro`, which no
/// program header covers, so that no boot protocol mistakes it for its own.
enum ImageNote {
    static let section = ".note.toro"
    /// "Toro" in ASCII.
    static let type: UInt32 = 0x6f72_6f54
    private static let owner = Array("Toro\0\0\0\0".utf8)

    /// The note that holds `description`.
    static func encode(_ description: Data) -> Data {
        var note = Data()
        for word in [UInt32(5), UInt32(description.count), type] {
            for shift in [0, 8, 16, 24] {
                note.append(UInt8(truncatingIfNeeded: word >> UInt32(shift)))
            }
        }
        note.append(contentsOf: owner)
        note.append(description)
        note.append(Data(count: (4 - description.count % 4) % 4))
        return note
    }

    /// The description of an image's note; nil if the file is no ELF image or has none. The image
    /// may come from anywhere: whatever it says is checked.
    static func find(in image: Data) -> Data? {
        let bytes = [UInt8](image)
        func number(_ offset: Int, _ size: Int) -> Int? {
            guard offset >= 0, size <= bytes.count, offset <= bytes.count - size else { return nil }
            var value = 0
            for index in (0..<size).reversed() { value = value << 8 | Int(bytes[offset + index]) }
            return value >= 0 ? value : nil
        }
        guard bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2, 1]),
            let table = number(0x28, 8), let size = number(0x3a, 2), let count = number(0x3c, 2),
            size >= 64
        else { return nil }
        for index in 0..<count {
            let (header, overflow) = table.addingReportingOverflow(index * size)
            guard !overflow, let kind = number(header + 4, 4), kind == 7 || kind == 1,
                let offset = number(header + 24, 8), let length = number(header + 32, 8),
                length >= 20, offset <= bytes.count, length <= bytes.count - offset,
                number(offset, 4) == 5, number(offset + 8, 4) == Int(type),
                Array(bytes[offset + 12..<offset + 20]) == owner,
                let described = number(offset + 4, 4), described <= length - 20
            else { continue }
            return Data(bytes[offset + 20..<offset + 20 + described])
        }
        return nil
    }
}
