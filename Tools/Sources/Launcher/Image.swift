import Foundation

/// A guest image that was built.
public struct Image: Sendable {
    /// The stripped image, which QEMU boots.
    public let path: String
    /// The image with its symbols.
    public let symbols: String
    /// The bytes of the stripped image.
    public let size: Int
    /// What it needs.
    public let manifest: Manifest
    /// How it was built; nil if that was not done just now.
    public let configuration: BuildConfiguration?

    /// A file beside the image that looks like its symbols and is another build's, if one was found
    /// and no better one.
    public let staleSymbols: String?

    /// An image that was built before. Its symbols are in FILE.debug, as `export` puts them there,
    /// or where a build leaves them: FILE without the `.image`.
    public init(file: String) throws(LaunchError) {
        let bytes: Data
        do throws(HostFile.Failure) {
            bytes = try HostFile.contents(file)
        } catch {
            if let interruption = error.interruption("the image \(file)") { throw interruption }
            guard error.code != ENOENT else { throw .usage("there is no \(file)") }
            throw .usage("cannot read the image \(file): \(error.reason)")
        }
        guard bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]) else {
            throw .usage("\(file) is neither a package's folder nor an ELF image")
        }
        let elf = ELFImage([UInt8](bytes))
        guard elf?.hasPVHEntry == true else {
            throw .usage(
                "\(file) is no image of Toro's: it has no PVH note, by which QEMU finds where to "
                    + "begin. Images are what toro build makes")
        }
        path = file
        configuration = nil
        let built = file.hasSuffix(".image") ? [String(file.dropLast(6))] : []
        let beside = [file + ".debug"] + built
        var own: String?
        var other: String?
        for candidate in beside where own == nil {
            let text: Data
            do throws(HostFile.Failure) {
                text = try HostFile.contents(candidate)
            } catch {
                if let interruption = error.interruption(candidate) { throw interruption }
                continue
            }
            let symbols = ELFImage([UInt8](text))
            let isOwn = elf.flatMap { elf in symbols.map(elf.isSameProgram) } ?? false
            if isOwn { own = candidate } else { other = other ?? candidate }
        }
        // Without symbols, the image's own text still tells return addresses from other words.
        symbols = own ?? file
        staleSymbols = own == nil ? other : nil
        size = bytes.count
        if let note = ImageNote.find(in: bytes) {
            manifest = try Manifest(note, name: "the manifest in \(file)")
        } else {
            manifest = Manifest()
        }
    }

    init(
        path: String, symbols: String, size: Int, manifest: Manifest,
        configuration: BuildConfiguration
    ) {
        self.path = path
        self.configuration = configuration
        self.symbols = symbols
        staleSymbols = nil
        self.size = size
        self.manifest = manifest
    }
}

extension Image {
    /// Copies the image to `output`, and its symbols to `output` with `.debug` behind it; returns
    /// the image's new path. A folder gets the image under its own name. What was there before is
    /// replaced by a whole file or stays.
    public func export(to output: String) throws(LaunchError) -> String {
        var target = output
        if let kind = try HostFile.kind(output) {
            switch kind {
            case S_IFDIR: target = output + "/" + (path as NSString).lastPathComponent
            case S_IFREG: break
            default: throw .usage("\(output) is neither a file nor a folder")
            }
        } else if output.hasSuffix("/") {
            throw .usage("there is no folder \(output)")
        }
        // The image is last: when it is there, its symbols are.
        try Image.replace(target + ".debug", by: symbols)
        try Image.replace(target, by: path)
        return target
    }

    private static func replace(_ target: String, by source: String) throws(LaunchError) {
        let folder = (target as NSString).deletingLastPathComponent
        let name = ".\((target as NSString).lastPathComponent).\(getpid())"
        let copy = folder.isEmpty ? name : folder + "/" + name
        do throws(HostFile.Failure) {
            try HostFile.write(try HostFile.contents(source), to: copy)
            try HostFile.rename(copy, to: target)
        } catch {
            HostFile.remove(copy)
            throw LaunchError("cannot write \(target): \(error.reason)")
        }
    }
}
