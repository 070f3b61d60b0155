import Foundation

/// A run of everything that serves a guest, with a guest of ten instructions: what a host can do is
/// found out by doing it, in the same way as `toro run` does.
enum Trial {
    /// Boots with a share of an empty folder, if a mode is given, and a port of loopback, if there is
    /// a device. Returns the milliseconds that it took.
    static func run(share mode: String? = nil, device: String? = nil) throws(LaunchError) -> Int {
        let folder = try RunFolder()
        defer { folder.remove() }
        let image = folder.path + "/guest.image"
        do throws(HostFile.Failure) {
            try HostFile.write(Data(guest), to: image)
        } catch {
            throw LaunchError("cannot write \(image): \(error.reason)")
        }
        defer { HostFile.remove(image) }
        var machine = Machine(image: image)
        machine.memory = "2M"
        let start = ContinuousClock.now
        let launch = try Launch(
            machine,
            shares: mode.map { mode throws(LaunchError) in
                [try Share(tag: "trial", folder: folder.path, isWritable: mode == "rw")]
            } ?? [],
            ports: device == nil ? [] : [PublishedPort(port: 0, guestPort: 80)], device: device)
        let status = try launch.run(console: .nullDevice, limit: Launch.patience)
        guard status == 0 else { throw LaunchError("a guest of ten instructions failed") }
        return Int((ContinuousClock.now - start) / .milliseconds(1))
    }

    /// An ELF image with a PVH note, which QEMU boots in 32-bit mode: it writes 1 to the port of
    /// `isa-debug-exit`, which ends QEMU as a guest with status 0 does.
    static let guest: [UInt8] = {
        let code: [UInt8] = [
            0x66, 0xba, 0x01, 0x05,  // mov dx, 0x501
            0xb0, 0x01,  // mov al, 1
            0xee,  // out dx, al
            0xf4, 0xeb, 0xfd,  // hlt, and again
        ]
        let base: UInt64 = 0x10_0000
        // Behind the header and two program headers.
        let place: UInt64 = 64 + 2 * 56
        let note: [UInt8] =
            bytes(UInt32(4)) + bytes(UInt32(8)) + bytes(UInt32(18)) + Array("Xen\0".utf8)
            + bytes(base + place + 24)
        let size = place + UInt64(note.count + code.count)
        var image: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
        // An executable for x86-64; its entry, program headers and no sections.
        image += bytes(UInt16(2)) + bytes(UInt16(62)) + bytes(UInt32(1))
        image += bytes(base + place + 24) + bytes(UInt64(64)) + bytes(UInt64(0))
        image += bytes(UInt32(0)) + [64, 56, 2, 0, 0, 0].flatMap { bytes(UInt16($0)) }
        for (kind, start, length) in [(1, UInt64(0), size), (4, place, UInt64(note.count))] {
            image += bytes(UInt32(kind)) + bytes(UInt32(7))
            image += bytes(start) + bytes(base + start) + bytes(base + start)
            image += bytes(length) + bytes(length) + bytes(UInt64(4))
        }
        return image + note + code
    }()

    private static func bytes<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
        stride(from: 0, to: Value.bitWidth, by: 8).map { UInt8(truncatingIfNeeded: value >> $0) }
    }
}
