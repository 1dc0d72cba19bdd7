@echo off
rem Made by nanovhd. Windows runs this once, as SYSTEM, when its setup is complete and before anybody logs on.
rem Each step runs in a shell of its own: none can end the others, or keep secrets from being removed.
if not "%~1"=="" goto %~1
set SCLOG=%SystemRoot%\Setup\Scripts\setupcomplete.log
echo "SetupComplete begins, %DATE% %TIME%" >> "%SCLOG%"
rem Who restarts the machine later waits until this file is gone.
echo running > "%SystemRoot%\Setup\Scripts\setupcomplete.running"
{run}
rem Secrets go last, whatever came before.
{secrets}
echo "SetupComplete ends, %DATE% %TIME%" >> "%SCLOG%"
if exist "%SystemRoot%\Setup\Scripts\setupcomplete.running" del /f /q "%SystemRoot%\Setup\Scripts\setupcomplete.running"
exit /b 0
{steps}
