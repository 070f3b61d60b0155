import ToroCore
import ToroMicroVM
import ToroTesting
import ToroVirtioFS

/// Files of the share "site".
enum Files {
    @Core static var experiments: [Experiment] {
        [
            Experiment("files") { vm throws(ProbeError) in try await list(vm) },
            Experiment("conformance") { vm throws(ProbeError) in try await conform(vm) },
            Experiment("refusals") { vm throws(ProbeError) in try await refuse(vm) },
        ]
    }

    @Core private static func share(_ vm: MicroVM) async throws(ProbeError) -> VirtioFileSystem {
        do throws(WiringError) {
            return try await vm.virtioFS(tag: "site")
        } catch {
            throw .failed(error.explanation)
        }
    }

    /// The promises of `FileSystem`, tried on a share that holds the files of their recipe.
    @Core private static func conform(_ vm: MicroVM) async throws(ProbeError) {
        let conformance = FileSystemConformance(try await share(vm))
        let failures = await conformance.run()
        for failure in failures { print("failed: " + failure) }
        print("conformance: " + String(conformance.checks) + " checks")
        guard failures.isEmpty else { throw .failed("the share breaks promises") }
    }

    /// Prints name (hexadecimal), size and FNV-1a hash of every file in the share.
    @Core private static func list(_ vm: MicroVM) async throws(ProbeError) {
        let site = try await share(vm)
        do throws(FileError) {
            var folders: [Path] = [.root]
            while let folder = folders.popLast() {
                let directory = try await site.openDirectory(folder)
                while let entry = try await directory.next() {
                    let path = folder.appending(entry.name)
                    if entry.kind == .directory { folders.append(path) }
                    if entry.kind == .regular { try await report(path, in: site) }
                }
                directory.close()
            }
        } catch {
            throw .failed(error.explanation)
        }
    }

    @Core private static func report(_ path: Path, in site: VirtioFileSystem)
        async throws(FileError)
    {
        let file = try await site.open(path)
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var offset: UInt64 = 0
        while true {
            let buffer: IOBuffer
            do throws(OutOfMemory) {
                buffer = try IOBuffer(capacity: 100_000)
            } catch {
                throw .outOfMemory
            }
            let block = try await file.read(into: buffer, at: offset).get()
            if block.isEmpty { break }
            offset += UInt64(block.count)
            let bytes = block.bytes
            for index in 0..<bytes.byteCount {
                // SAFETY: the index is below the span's length.
                let byte = unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
                hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
            }
        }
        file.close()
        var name = ""
        for byte in path.bytes {
            name += String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
        }
        print("file " + name + " " + String(offset) + " " + String(hash, radix: 16))
    }

    /// Paths that must not be opened, each with the reason.
    @Core private static func refuse(_ vm: MicroVM) async throws(ProbeError) {
        let site = try await share(vm)
        for path: Path in ["outside", "sub/../..", "missing", "file/below", "loop", "sub"] {
            do throws(FileError) {
                _ = try await site.open(path)
                print("opened")
            } catch {
                print("refused: " + error.explanation)
            }
        }
    }
}
