public import ToroCore
public import ToroVirtio

extension VirtioBus {
    /// The share that the launcher was given as `--share TAG=FOLDER`.
    public func virtioFS(
        tag: String, clock: any Timekeeper = Core.clock
    ) async throws(WiringError) -> VirtioFileSystem<Transport> {
        for slot in 0..<slotCount {
            guard let transport = device(inSlot: slot), transport.deviceID == .fileSystem,
                transport.tagEquals(tag)
            else { continue }
            let channel: FUSEChannel<Transport>
            do throws(VirtioError) {
                channel = try FUSEChannel(transport)
            } catch {
                throw .unusableDevice(error.explanation)
            }
            claim(slot: slot, for: channel)
            let session = FUSESession(channel, clock: clock)
            do throws(FileError) {
                return VirtioFileSystem(session, root: try await session.start())
            } catch {
                throw .unusableDevice(error.explanation)
            }
        }
        throw .missingDevice(
            "no share has the tag that the service asks for (run with --share TAG=FOLDER)",
            name: tag)
    }
}

extension VirtioTransport {
    /// Whether the tag in the configuration (36 bytes, padded with NUL; 5.11.4) is `tag`.
    func tagEquals(_ tag: String) -> Bool {
        var index = 0
        for byte in tag.utf8 {
            guard index < 36, configurationByte(at: index) == byte else { return false }
            index += 1
        }
        return index == 36 || configurationByte(at: index) == 0
    }
}
