# What every machine of this box starts from; the Vagrantfile of a project is read after it.
#
# The machine boots by UEFI. Without a store of its own for variables, libvirt wants the firmware in one file; distributions keep
# it in different places. A project's Vagrantfile may name another with `libvirt.loader`.
firmware = [
  "/usr/share/ovmf/OVMF.fd",
  "/usr/share/qemu/OVMF.fd",
  "/usr/share/edk2/ovmf/OVMF.fd",
  "/usr/share/edk2/x64/OVMF.4m.fd",
  "/usr/share/edk2-ovmf/x64/OVMF.fd",
].find { |file| File.exist?(file) }

Vagrant.configure("2") do |config|
  config.vm.guest = :windows
  config.vm.communicator = "winrm"
  config.vm.boot_timeout = 600
  config.vm.graceful_halt_timeout = 180
  # A Windows without guest tools has nothing to share folders with.
  config.vm.synced_folder ".", "/vagrant", disabled: true

  config.vm.provider "libvirt" do |libvirt|
    libvirt.memory = {{memory_mib}}
    libvirt.cpus = {{cpus}}
    libvirt.machine_type = "q35"
    libvirt.loader = firmware || "/usr/share/ovmf/OVMF.fd"
    libvirt.disk_bus = "{{disk_bus}}"
    libvirt.disk_device = "{{disk_device}}"
    libvirt.nic_model_type = "{{nic}}"
  end
end
