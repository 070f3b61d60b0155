import Foundation

/// A tarball of the `toro` that boots images where there is neither Swift nor a checkout: the
/// programs, what an operator has to know, and the license.
public struct ToolPackage {
    /// What the folder in the tarball is called, and the tarball but for its ending.
    public let name: String
    /// The folder that has the programs.
    private let programs: String
    /// The folder of Toro itself.
    private let root: String

    /// The programs: each finds the other one beside it.
    static let programs = ["toro", "toro-vsock-device"]
    /// What else there is, by its path in the checkout.
    static let texts = ["LICENSE": "LICENSE", "README.md": "Docs/Operating.md"]

    /// A package of the programs in the folder `programs`, with texts of the checkout `root`.
    public init(programs: String, root: String, version: String) {
        name = "toro-\(version)-x86_64-linux"
        self.programs = programs
        self.root = root
    }

    /// Makes the tarball in the file `output`, or in that folder under its own name; returns its
    /// path. The same sources give the same bytes, wherever they were built. What was there before is
    /// replaced by a whole file or stays.
    public func write(to output: String) throws(LaunchError) -> String {
        let folder = output.hasSuffix("/") ? output : output + "/"
        let target = try HostFile.isFolder(output) ? folder + name + ".tar.gz" : output
        let staging = try stagingFolder(beside: target)
        defer { staging.remove() }
        let content = staging.path + "/" + name
        do throws(HostFile.Failure) {
            try HostFile.makeFolder(content, mode: 0o755)
        } catch {
            throw LaunchError("cannot make \(content): \(error.reason)")
        }
        for program in ToolPackage.programs { try strip(program, to: content + "/" + program) }
        for (file, source) in ToolPackage.texts { try copy(source, to: content + "/" + file) }
        let archive = staging.path + "/archive"
        // Whoever unpacks it as root owns the files, whatever this user's umask is.
        try run(
            "tar",
            [
                "--create", "--file=\(archive)", "--use-compress-program=gzip -n",
                "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner",
                "--mtime=@0", "--mode=u=rwX,go=rX", "--directory=\(staging.path)", name,
            ])
        do throws(HostFile.Failure) {
            try HostFile.rename(archive, to: target)
        } catch {
            throw LaunchError("cannot write \(target): \(error.reason)")
        }
        return target
    }

    /// What of a program depends on the folder in which it was built, and nobody needs: what the
    /// compiler knows its own objects by, and what the linker makes of that and of the symbols.
    static let ofThisFolder = [".swift_modhash", ".note.gnu.build-id"]

    /// Copies a program without its symbols, which hold the paths of this machine.
    private func strip(_ program: String, to target: String) throws(LaunchError) {
        let source = programs + "/" + program
        guard let bytes = try? HostFile.contents(source), let elf = ELFImage([UInt8](bytes)) else {
            throw LaunchError("there is no program \(source)")
        }
        let toolchains = elf.neededLibraries.filter {
            ["libswift", "libFoundation", "lib_Foundation", "libdispatch", "libBlocksRuntime"]
                .contains(where: $0.hasPrefix)
        }
        guard toolchains.isEmpty else {
            throw LaunchError(
                "\(source) needs the toolchain's \(toolchains.sorted().joined(separator: ", ")): "
                    + "./toro builds one that does not")
        }
        let sections = ToolPackage.ofThisFolder.map { "--remove-section=" + $0 }
        let ended = try Command.capture(
            try Command.objcopy(), ["--strip-all"] + sections + [source, target])
        guard ended.status == 0 else {
            throw LaunchError("cannot copy \(source): " + ended.output)
        }
    }

    private func copy(_ source: String, to target: String) throws(LaunchError) {
        do throws(HostFile.Failure) {
            try HostFile.write(try HostFile.contents(root + "/" + source), to: target)
        } catch {
            throw LaunchError("cannot copy \(root)/\(source): \(error.reason)")
        }
    }

    private func run(_ program: String, _ arguments: [String]) throws(LaunchError) {
        guard let path = Command.find(program) else {
            throw .missing("\(program) is not in PATH")
        }
        let ended = try Command.capture(path, arguments)
        guard ended.status == 0 else { throw LaunchError("\(program) failed: " + ended.output) }
    }

    /// A folder for what is being made, in the file system where it is to be.
    private func stagingFolder(beside target: String) throws(LaunchError) -> TemporaryFolder {
        let folder = (target as NSString).deletingLastPathComponent
        do throws(HostFile.Failure) {
            return try TemporaryFolder(
                anew: (folder.isEmpty ? "." : folder) + "/.toro-package-\(getpid())")
        } catch {
            throw LaunchError("cannot write beside \(target): \(error.reason)")
        }
    }
}
