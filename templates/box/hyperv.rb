# What every machine of this box starts from; the Vagrantfile of a project is read after it.
Vagrant.configure("2") do |config|
  config.vm.guest = :windows
  config.vm.communicator = "winrm"
  config.vm.boot_timeout = 600
  config.vm.graceful_halt_timeout = 180
  # A Windows without guest tools has nothing to share folders with.
  config.vm.synced_folder ".", "/vagrant", disabled: true

  config.vm.provider "hyperv" do |hyperv|
    hyperv.memory = {{memory_mib}}
    hyperv.cpus = {{cpus}}
    hyperv.ip_address_timeout = 240
  end
end
