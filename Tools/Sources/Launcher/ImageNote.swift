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
        for section in ELFImage(bytes)?.sections ?? [] where section.type == 7 || section.type == 1
        {
            let (at, length) = (section.offset, section.size)
            guard length >= 20, at <= bytes.count, length <= UInt64(bytes.count) - at,
                ELFImage.number(bytes, at, 4) == 5,
                ELFImage.number(bytes, at + 8, 4) == UInt64(type),
                Array(bytes[Int(at) + 12..<Int(at) + 20]) == owner,
                let described = ELFImage.number(bytes, at + 4, 4), described <= length - 20
            else { continue }
            return Data(bytes[Int(at) + 20..<Int(at) + 20 + Int(described)])
        }
        return nil
    }
}
