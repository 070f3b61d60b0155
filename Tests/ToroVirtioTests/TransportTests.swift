import Testing
import ToroCore
import ToroTesting
import ToroVirtio

/// Registers that note how they are accessed.
private final class Registers: RegisterWindow {
    var words: [Int: UInt32] = [0x000: 0x7472_6976, 0x004: 2, 0x008: 19]
    private(set) var accesses: [String] = []
    var onLoad: ((Int) -> Void)?

    func load32(at offset: Int) -> UInt32 {
        precondition(offset % 4 == 0)
        accesses.append("load32 " + String(offset, radix: 16))
        let value = words[offset] ?? 0
        onLoad?(offset)
        return value
    }

    func store32(_ value: UInt32, at offset: Int) { words[offset] = value }

    func load8(at offset: Int) -> UInt8 {
        accesses.append("load8 " + String(offset, radix: 16))
        return 0
    }

    func forget() { accesses.removeAll() }
}

@Suite struct TransportTests {
    /// VIRTIO 1.2, 4.2.2.2: fields of 64 bits by accesses of 32, between two looks at the
    /// generation (2.5.1).
    @Test @Core func fieldsAreReadInTheirWidths() throws {
        let registers = Registers()
        registers.words[0x100] = 0x8765_4321
        registers.words[0x104] = 0xfedc_ba98
        let transport = try MMIOTransport(registers)
        registers.forget()
        let configuration = VirtioConfiguration(transport)
        #expect(try configuration.number64(at: 0) == 0xfedc_ba98_8765_4321)
        #expect(registers.accesses == ["load32 fc", "load32 100", "load32 104", "load32 fc"])
    }

    /// A field that changes between its halves is read again.
    @Test @Core func aChangedConfigurationIsReadAgain() throws {
        let registers = Registers()
        registers.words[0x100] = 1
        registers.words[0x104] = 1
        registers.onLoad = { offset in
            guard offset == 0x100, registers.words[0xfc] == nil else { return }
            (registers.words[0x100], registers.words[0x104]) = (2, 2)
            registers.words[0xfc] = 1
        }
        let configuration = VirtioConfiguration(try MMIOTransport(registers))
        #expect(try configuration.number64(at: 0) == 0x2_0000_0002)
    }

    @Test @Core func aConfigurationThatNeverSettlesIsAnError() throws {
        let registers = Registers()
        registers.onLoad = { offset in
            if offset == 0x104 { registers.words[0xfc, default: 0] += 1 }
        }
        let configuration = VirtioConfiguration(try MMIOTransport(registers))
        #expect(throws: VirtioError.configurationUnsettled) { try configuration.number64(at: 0) }
    }

    @Test(arguments: ["", "a", "site", "site2", "tag"]) @Core
    func aTagIsWholeOrAnother(_ name: String) throws {
        let device = MockVirtioDevice(
            .fileSystem, queueSizes: [], configuration: Array("site".utf8) + [0, 0, 0, 0])
        let configuration = VirtioConfiguration(device)
        let tags: [(StaticString, String)] = [
            ("", ""), ("a", "a"), ("site", "site"), ("site2", "site2"), ("tag", "tag"),
        ]
        for (tag, text) in tags where text == name {
            #expect(try configuration.hasText(tag, at: 0, size: 8) == (name == "site"))
        }
        #expect(try configuration.hasText("site", at: 0, size: 4))
    }

    /// A device of another version is an error that says which, an empty slot none.
    @Test @Core func versionsAreTold() throws {
        let registers = Registers()
        for version in [0, 1, 3] as [UInt32] {
            registers.words[0x004] = version
            #expect(throws: VirtioError.unsupportedVersion(version)) {
                try MMIOTransport(registers)
            }
            let explanation = VirtioError.unsupportedVersion(version).explanation
            #expect(explanation.contains("version " + String(version)))
        }
        registers.words[0x008] = 0
        #expect(try MMIOTransport(registers).deviceID.rawValue == 0)
    }
}
