# What every machine of this box starts from; the Vagrantfile of a project is read after it.
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
    libvirt.disk_bus = "{{disk_bus}}"
    libvirt.disk_device = "{{disk_device}}"
    libvirt.nic_model_type = "{{nic}}"
  end
end
